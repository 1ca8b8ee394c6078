"""A checkpoint's files read as tensors and plain values: whatever else a pickle names is refused, and nothing of it is executed.

DeepSpeed's files hold objects of four classes of its own, which are allowed by name. Its own load asks torch to unpickle
whatever there is, which torch's TORCH_FORCE_WEIGHTS_ONLY_LOAD overrules. Tested with torch 2.13 and deepspeed 0.19; where
another version saves an object of another class, its checkpoints are refused by the name of that.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from launcher.errors import RunFailed

OF_DEEPSPEED = (
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
"""What its checkpoints hold beside tensors and plain values: numbers with names, all of them."""
FORCE, FORBID = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
MOST_NAMED = 3
"""How many names of a refused file are told."""
REMEDY = "launch wrote no such file: remove that checkpoint, and the run resumes from the one before it"


def read_values(path: Path, *, mmap: bool = False) -> Any:
    """What torch.save wrote. Raises RunFailed('checkpoint') where it holds anything but tensors and plain values."""
    with plain_values_only([path]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


@contextlib.contextmanager
def plain_values_only(paths: Sequence[Path]) -> Iterator[None]:
    """Whoever reads these files within gets tensors and plain values. Raises as `read_values` does, before any is read."""
    needed = sorted({name for path in paths for name in _allowed_in(path)})
    with safe_globals([_class_named(name) for name in needed]), _forced():
        try:
            yield
        except pickle.UnpicklingError as error:
            raise _refusal(paths[0].parent, re.findall(r"GLOBAL (\S+)", str(error))) from None


def _allowed_in(path: Path) -> set[str]:
    """Classes of DeepSpeed's that a file names; the file is looked at, and not unpickled."""
    try:
        named = set(get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, IndexError, pickle.UnpicklingError):
        raise _refusal(path, []) from None
    if foreign := sorted(named.difference(OF_DEEPSPEED)):
        raise _refusal(path, foreign)
    return named


def _class_named(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@contextlib.contextmanager
def _forced() -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in (FORCE, FORBID)}
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _refusal(path: Path, names: Sequence[str]) -> RunFailed:
    told = ", ".join(re.sub(r"[^\w.]", "?", name, flags=re.ASCII)[:80] for name in names[:MOST_NAMED])
    place = f"{path.parent.name}/{path.name}"
    message = (
        f"{place} holds more than weights and plain values{told and f' ({told})'}: nothing of it is executed"
    )
    return RunFailed("checkpoint", message, REMEDY)
