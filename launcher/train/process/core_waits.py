"""How long this process's threads were ready to run and had no core: what other work takes from a training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class CoreTime(NamedTuple):
    """Seconds of all threads that live."""

    ran_s: float
    waited_s: float
    """Ready to run, while all cores that they may use were taken."""


def core_time(tasks: Path = Path("/proc/self/task")) -> CoreTime | None:
    """As the kernel counts it (Linux, Documentation/scheduler/sched-stats.rst); None where it doesn't."""
    ran = waited = 0
    for path in tasks.glob("*/schedstat"):
        with suppress(OSError, ValueError):  # a thread that has just ended
            on_core, in_queue, _ = map(int, path.read_text(encoding="utf-8").split())
            ran, waited = ran + on_core, waited + in_queue
    return CoreTime(ran / 1e9, waited / 1e9) if ran else None


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
