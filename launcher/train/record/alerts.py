"""What W&B tells a user by mail or Slack about the end of a run; a planned stop is no news."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from launcher.errors import EXIT_OK, EXIT_STOPPED, DamagedFile
from launcher.runs.directory import RunDir, read_result
from launcher.runs.results import Result
from launcher.visible import visible

CAUSE = "failure"
"""Name of a run's cause in its summary."""
RECORD_TIMEOUT_S = 5.0
"""Longest to wait for the record of a training that failed."""


def tell_ending(run: Any, directory: Path, exit_code: int | None) -> None:
    """Send an alert on how the training ended: `exit_code` is None where it died, or failed."""
    if exit_code == EXIT_STOPPED:
        return
    result = _result(RunDir(directory), wait_s=RECORD_TIMEOUT_S if exit_code is None else 0.0)
    title, text = _words(directory.name, result, is_well=exit_code == EXIT_OK)
    # An alert that can't be sent is no reason not to send the rows.
    with contextlib.suppress(Exception):
        run.alert(title=title, text=text, level="INFO" if exit_code == EXIT_OK else "ERROR", wait_duration=0)


def cause(directory: Path, exit_code: int | None) -> dict[str, str | None]:
    """What the summary of a run says of why it failed, as its result.json does; None takes back what an earlier attempt said."""
    run = RunDir(directory)
    if exit_code == EXIT_OK and any(_failed(run, number) for number in run.attempt_numbers()):
        return {CAUSE: None}
    if exit_code in (EXIT_OK, EXIT_STOPPED):
        return {}
    result = _result(run, wait_s=RECORD_TIMEOUT_S if exit_code is None else 0.0)
    error = None if result is None else result.error
    return {} if error is None else {CAUSE: error.sentence()}


def _failed(run: RunDir, attempt: int) -> bool:
    with contextlib.suppress(DamagedFile):
        result = read_result(run.attempt(attempt).result)
        return result is not None and result.error is not None
    return False


def _words(run_id: str, result: Result | None, *, is_well: bool) -> tuple[str, str]:
    if is_well:
        return f"{run_id} is completed", "the best model and the record are in its run directory"
    error = None if result is None else result.error
    if error is None:
        return f"{run_id} died", f"its training ended without a word: launch status {run_id}"
    remedy = f" -> {error.remedy}" if error.remedy else ""
    where = "" if error.step is None else f" at step {error.step}"
    return f"{run_id} failed: {error.kind}{where}", visible(f"{error.message}{remedy}")


def _result(run: RunDir, wait_s: float) -> Result | None:
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(DamagedFile):
            if (result := run.read_result()) is not None:
                return result
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.2)
