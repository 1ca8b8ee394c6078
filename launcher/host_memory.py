"""Main memory: what a process holds, what it may have, and whether the kernel has killed any for want of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from launcher import control_groups

VMSTAT = Path("/proc/vmstat")
MEMINFO = Path("/proc/meminfo")
PAGE = os.sysconf("SC_PAGE_SIZE")


def kills() -> int | None:
    """How many processes the kernel of this machine has killed for want of memory, limits of containers and jobs included."""
    return _number(VMSTAT, "oom_kill")


def available() -> int | None:
    """Bytes that can be had."""
    found = _number(MEMINFO, "MemAvailable:")
    return None if found is None else found << 10


def allowed() -> int | None:
    """Bytes that this machine has, or the least limit of the control groups that this process is in."""
    total = _number(MEMINFO, "MemTotal:")
    limits = (None if total is None else total << 10, control_groups.memory())
    return min((limit for limit in limits if limit is not None), default=None)


def held(pid: int) -> int | None:
    """Bytes of main memory that a process has; None where it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE or None
    return None


def _number(file: Path, name: str) -> int | None:
    """The number behind a name in a file of the kernel's."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in file.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[0] == name:
                return int(words[1])
    return None
