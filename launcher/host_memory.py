"""Main memory: what a process holds, what it may have, and whether the kernel has killed any for want of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

VMSTAT = Path("/proc/vmstat")
MEMINFO = Path("/proc/meminfo")
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
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
    limits = [] if total is None else [total << 10]
    with contextlib.suppress(OSError):
        limits += _limits(OWN_GROUPS.read_text(encoding="utf-8", errors="replace"))
    return min(limits, default=None)


def held(pid: int) -> int | None:
    """Bytes of main memory that a process has; None where it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE or None
    return None


def _limits(groups: str) -> Iterator[int]:
    """The limits of the groups in /proc/PID/cgroup and of those above them, in both versions of control groups."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = GROUPS / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = root / path.lstrip("/")
        for directory in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):
                yield int((directory / name).read_text(encoding="ascii"))
            if directory == root:
                break


def _number(file: Path, name: str) -> int | None:
    """The number behind a name in a file of the kernel's."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in file.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[0] == name:
                return int(words[1])
    return None
