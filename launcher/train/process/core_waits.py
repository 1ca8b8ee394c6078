"""How long this process's threads were ready to run and had no core: what other work takes from a training."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TASKS = Path("/proc/self/task")
LOOK_EVERY_S = 0.5
"""A look at all threads takes up to a millisecond."""


class CoreTime(NamedTuple):
    """Seconds of a thread, or of all that live."""

    ran_s: float
    waited_s: float
    """Ready to run, while all cores that may be used were taken."""


NEW = CoreTime(0.0, 0.0)
"""A thread that wasn't there before."""


def core_time(tasks: Path = TASKS) -> CoreTime | None:
    """As the kernel counts it (Linux, Documentation/scheduler/sched-stats.rst); None where it doesn't."""
    threads = _threads(tasks).values()
    ran = sum(thread.ran_s for thread in threads)
    return CoreTime(ran, sum(thread.waited_s for thread in threads)) if ran else None


def share_waited(
    before: CoreTime | None, after: CoreTime | None, ranks_per_core: float = 1.0
) -> float | None:
    """Share of the time in between that threads wanted to run and others' work held the cores; None where nobody counted.

    Ranks that share a core wait for each other: that is no other work.
    """
    if before is None or after is None:
        return None
    ran, waited = (max(0.0, late - early) for late, early in zip(after, before, strict=True))
    if not ran:
        return None
    # With others' work out of the way, ranks get a core for 1 / ranks_per_core of the time.
    return max(0.0, 1 - (ran / (ran + waited)) * max(1.0, ranks_per_core))


class CoreWaits:
    """What share of the time the thread of this process that waits most waits for a core.

    The most, since threads that compute together wait for the last of them.
    """

    def __init__(self) -> None:
        self._since, self._before = time.perf_counter(), _threads()
        self._share = 0.0

    def share(self) -> float:
        """Over the last half second or more; 0 where nobody counts."""
        passed = time.perf_counter() - self._since
        if passed >= LOOK_EVERY_S:
            before, self._before = self._before, _threads()
            waited = (now.waited_s - before.get(name, NEW).waited_s for name, now in self._before.items())
            self._share = min(1.0, max(waited, default=0.0) / passed)
            self._since += passed
        return self._share


def _threads(tasks: Path = TASKS) -> dict[str, CoreTime]:
    """Of each thread that lives, by its number."""
    found = {}
    for path in tasks.glob("*"):  # none where the system has no such directory
        with suppress(OSError, ValueError):  # a thread that has just ended
            descriptor = os.open(f"{path}/schedstat", os.O_RDONLY)  # half the time that Path takes
            try:
                ran, waited, _ = map(int, os.read(descriptor, 64).split())
            finally:
                os.close(descriptor)
            found[path.name] = CoreTime(ran / 1e9, waited / 1e9)
    return found
