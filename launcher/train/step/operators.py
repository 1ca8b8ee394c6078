"""DeepSpeed's operators: where they are compiled, and no build that was killed and that others wait for."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from launcher.paths import operators_cache


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
    """
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
