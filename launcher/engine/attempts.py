"""The way that attempts of a run have noted down."""

from __future__ import annotations

from launcher.engine.findings import Taken
from launcher.errors import DamagedFile
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.records import read_record


def taken_before(run: RunDir, number: int | None = None) -> Taken | None:
    """The way of the newest attempt that noted it down, of those before this one where one is given."""
    for earlier in reversed([n for n in run.attempt_numbers() if number is None or n < number]):
        found = read_taken(run.attempt(earlier))
        if found is not None:
            return found
    return None


def read_taken(attempt: AttemptDir) -> Taken | None:
    """What an attempt noted down of its way; None where that can't be read."""
    try:
        return read_record(Taken, attempt.engine)
    except DamagedFile:
        return None
