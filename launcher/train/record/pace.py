"""Telling the watcher of the first node how long a stop would take: see launcher.health.time_limit."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from launcher.health.records import Pace, write_pace
from launcher.runs.attempt_directory import AttemptDir

NEWEST_STEPS = 50
NEWEST_OTHERS = 3


class PaceLog:
    """Writes health/pace.json after each save and each evaluation."""

    def __init__(self, attempt: AttemptDir | None) -> None:
        """None writes nothing: rank 0 does."""
        self._attempt = attempt
        self._told = (0, 0)

    def note(self, steps: Sequence[float], evaluations: Sequence[float], saves: Sequence[float]) -> None:
        """Seconds of each so far; nothing is told before the first save, nor twice."""
        counts = (len(evaluations), len(saves))
        if self._attempt is None or not saves or counts == self._told:
            return
        self._told = counts
        pace = Pace(
            round(max(steps[-NEWEST_STEPS:], default=0.0), 3),
            round(max(evaluations[-NEWEST_OTHERS:], default=0.0), 3),
            round(max(saves[-NEWEST_OTHERS:]), 3),
        )
        with contextlib.suppress(OSError):  # a training goes on without
            write_pace(self._attempt, pace)
