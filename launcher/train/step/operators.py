"""DeepSpeed's operators: where they are compiled, no build that was killed and that others wait for, and why none can be made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from launcher.errors import RunFailed
from launcher.paths import operators_cache
from launcher.planning.sharding import ASYNC_IO_REMEDY

NOT_BUILT = re.compile(r"JIT load the (\w+) op\b|building extension '(\w+)'")
"""What DeepSpeed and torch say of an operator that they can't compile."""
COMPILER_REMEDY = "install a C++ compiler and ninja where it runs, or use zero.stage=0 and zero.offload=none"


def extensions_dir() -> Path:
    """Where DeepSpeed's operators are compiled: a place of this environment's own.

    So no other program's stale lock hangs a rank, and two environments don't build over each other.
    """
    return operators_cache(f"torch-{torch.__version__}")


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Around whatever compiles or loads operators, on every rank at once.

    torch marks a build by a file named `lock`, and waits for one without end, also where its owner was killed. Whoever
    is the only one here removes what is left of such. The kernel takes back who is here, however a process dies.
    Raises RunFailed of class `launch` where an operator can't be compiled.
    """
    try:
        with _alone_or_together():
            yield
    except RuntimeError as error:
        if (found := NOT_BUILT.search(str(error))) is None:
            raise
        name = found[1] or found[2]
        remedy = ASYNC_IO_REMEDY if name == "async_io" else COMPILER_REMEDY
        text = (
            f"DeepSpeed's operator {name} can't be compiled here; the rank's log holds what the compiler says"
        )
        raise RunFailed("launch", text, remedy) from error


@contextlib.contextmanager
def _alone_or_together() -> Iterator[None]:
    directory = extensions_dir()
    if (
        Path(os.environ["TORCH_EXTENSIONS_DIR"]) != directory
    ):  # the user's own, where other programs build too
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".builders").open("a") as file:
        with contextlib.suppress(OSError):  # somebody else is here, or the file system has no locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in directory.glob("*/lock"):
                left.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        yield
