"""A process that dies with the one that started it, however that one dies: no rank trains on where nobody looks.

    python -m launcher.parent_death ARGUMENTS      becomes `python ARGUMENTS`, which dies so: how torchrun is started

Its children find its process id in LAUNCHER_PARENT: one that comes up too late sees that it has another parent by then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

PARENT = "LAUNCHER_PARENT"
PR_SET_PDEATHSIG = 1
"""As <sys/prctl.h> has it; Python has no name for it."""


def die_with_parent() -> None:
    """Have the kernel kill this process once its parent is gone; where that has happened meanwhile, this does it.

    To the kernel the parent is the thread that forked: bash has one, and torchrun starts its workers from its main one.
    """
    parent = int(os.environ.get(PARENT) or os.getppid())
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: Sequence[str]) -> NoReturn:
    """The command line in this module's docstring; another program in the same process still dies with its parent."""
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
