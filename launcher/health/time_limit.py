"""Stopping in time before a job's time limit: as late as what was measured of the training allows.

The watcher of the first node keeps the time: it asks the scheduler each minute, since limits are moved while jobs run. The
scheduler's own warning, which comes as early as a plan could only guess, is heeded where nobody keeps the time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from launcher.figures import human_seconds
from launcher.health import records
from launcher.health.records import Pace
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.events import append_notice
from launcher.runs.requests import is_asked

ASK_S = 60.0
"""Seconds between two questions about the limit."""
READ_S = 5.0
"""Seconds between two looks at what was measured."""
ENDING_S = 15.0
"""What it takes from a wish to stop until it is seen, and from the last save until the job's script has ended."""
STEPS = 3
"""Steps that are under way when a stop is asked for: the ranks agree on one that all have yet to come to."""
MARGIN = 1.2
EARLIEST_WARNING_S = 90.0
"""How much earlier than it was asked to a scheduler may warn: Slurm looks at its jobs every half minute."""
ASKED_BY = "time-limit"
"""What stands in control/stop."""


def lead_s(pace: Pace) -> float:
    """How long before the limit a training must be asked to stop, in seconds.

    It ends the steps under way, or leaves an evaluation, but not while that writes the best model, which takes no longer than a
    save; it waits for the save under way, and saves.
    """
    evaluation_s = min(pace.evaluation_s, pace.save_s)
    return ENDING_S + MARGIN * (STEPS * pace.step_s + evaluation_s + 2 * pace.save_s)


class TimeKeeper:
    """Asks the training for a stop once its time limit is that near, and says where a save takes longer than it may."""

    def __init__(
        self,
        run: RunDir,
        attempt: AttemptDir,
        ends_by: Callable[[], float | None],
        grace_s: Callable[[], float | None],
    ) -> None:
        """`ends_by` and `grace_s` ask the scheduler: when the limit is up, and what a job gets that gives way to another."""
        self._run = run
        self._attempt = attempt
        self._ask = ends_by
        self._grace_s: Callable[[], float | None] | None = grace_s
        self._ends_by: float | None = None
        self._asked_at = self._read_at = float("-inf")
        self._pace: Pace | None = None
        self._done = False

    def look(self) -> None:
        """To be called about once a second."""
        now = time.monotonic()
        if now - self._read_at >= READ_S:
            self._read_at = now
            self._pace = records.read_pace(self._attempt) or self._pace
        if self._done or self._pace is None:
            return
        self._compare_grace(self._pace)
        if now - self._asked_at >= ASK_S or self._is_due(self._pace):
            self._asked_at = now
            told = self._ask()
            # A scheduler that doesn't answer just now has moved no limit.
            self._ends_by = self._ends_by if told is None else told
        if self._is_due(self._pace):
            self._stop(self._pace)

    def _is_due(self, pace: Pace) -> bool:
        return self._ends_by is not None and time.time() >= self._ends_by - lead_s(pace)

    def _stop(self, pace: Pace) -> None:
        self._done = True
        if is_asked(self._run.cancel) or not _ask_for_stop(self._run):
            return
        assert self._ends_by is not None
        left, lead = human_seconds(max(0.0, self._ends_by - time.time())), human_seconds(lead_s(pace))
        self._tell(f"the time limit is up in {left}, and stopping takes up to {lead}: it saves and stops")

    def _compare_grace(self, pace: Pace) -> None:
        """Once: whether a save fits into what a job gets that has to give way to another."""
        ask, self._grace_s = self._grace_s, None
        grace_s = None if ask is None else ask()
        if grace_s is not None and pace.save_s + pace.step_s > grace_s:
            self._tell(
                f"a save takes {human_seconds(pace.save_s)}, and a job of this partition gets {human_seconds(grace_s)} when it "
                "must give way to another: it may lose the steps since its last checkpoint (checkpoint.every)"
            )

    def _tell(self, sentence: str) -> None:
        append_notice(self._run.events, self._attempt.number, sentence)


def _ask_for_stop(run: RunDir) -> bool:
    """Write control/stop, unless somebody has asked already."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.suppress(OSError), open(os.open(run.stop, flags, 0o600), "w") as file:  # noqa: PTH123
        file.write(ASKED_BY)
        return True
    return False


def heeds(attempt: AttemptDir, ends_by: float | None, notice_s: float) -> bool:
    """Whether a training has to stop on its scheduler's warning, `notice_s` before the limit.

    Not where its watcher will ask it to, later; but a signal that comes earlier than that is somebody's wish.
    """
    pace = records.read_pace(attempt)
    if pace is None or ends_by is None or not records.is_watched(attempt, node=0):
        return True
    left_s = ends_by - time.time()
    return left_s > notice_s + EARLIEST_WARNING_S or left_s < lead_s(pace) + ASK_S
