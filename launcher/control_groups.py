"""What the control groups of this process leave it of the machine: a container's or a job's share of memory and cores."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def limits(controller: str, new: str, *old: str) -> Iterator[list[str]]:
    """The words in the files of this name of the own group and of those above it; `old`: the names in the first version.

    What isn't there, or can't be read, is left out.
    """
    for line in _lines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controllers
        group = root / path.lstrip("/")
        for directory in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):
                names = old if controllers else (new,)
                yield [
                    word for name in names for word in (directory / name).read_text(encoding="ascii").split()
                ]
            if directory == root:
                break


def memory() -> int | None:
    """The least limit on the bytes of main memory; None where there is none."""
    found = limits("memory", "memory.max", "memory.limit_in_bytes")
    return min((int(words[0]) for words in found if words and words[0].isdigit()), default=None)


def cores() -> int:
    """Cores that this process may keep busy: those that it may run on, or what its quota of processor time comes to."""
    own = len(os.sched_getaffinity(0))
    quotas = limits("cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    shares = [int(quota) / int(period) for quota, period in _pairs(quotas)]
    return min([own, *(max(1, math.ceil(share)) for share in shares)])


def _pairs(quotas: Iterator[list[str]]) -> Iterator[tuple[str, str]]:
    """Those that are limits: `max`, or -1 in the first version, is none."""
    for words in quotas:
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
            yield words[0], words[1]


def _lines() -> list[str]:
    try:
        return OWN_GROUPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
