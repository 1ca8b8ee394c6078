"""Waiting for runs that were asked to end: never for ever, and with what is left in the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.cli.run_state import stalled
from launcher.executors import Executor, JobState
from launcher.executors.shared.outcome import state_text
from launcher.figures import human_seconds
from launcher.runs.directory import RunDir

LONGEST_S = 600.0
"""Longest that `stop --wait` waits: longer than any hang of a step lasts, and than most evaluations and saves."""
POLL_S = 0.5
LONGEST_POLL_S = 5.0
Started = Sequence[tuple[RunDir, Executor]]


def left_of(runs: Started) -> list[str]:
    """Wait until the jobs of all these runs have ended; a sentence on each that has not after LONGEST_S."""
    began = time.monotonic()
    deadline = began + LONGEST_S
    going = [(run, executor, executor.state(run)) for run, executor in runs]
    while going := [(run, executor, state) for run, executor, state in going if state.active]:
        if time.monotonic() > deadline:
            return [_left(run, state) for run, _, state in going]
        waited_s = (
            time.monotonic() - began
        )  # a scheduler serves many: it is asked more rarely as time goes on
        time.sleep(max(POLL_S, min(LONGEST_POLL_S, waited_s / 20)))
        going = [(run, executor, executor.state(run)) for run, executor, _ in going]
    return []


def _left(run: RunDir, state: JobState) -> str:
    stall = stalled(run, state)
    why = f"; {stall.sentence}" if stall is not None else ""
    return f"{run.run_id}: {state_text(state)}, {human_seconds(LONGEST_S)} after it was asked to save and stop{why}"
