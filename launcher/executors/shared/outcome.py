"""How the newest job of a run ended: by its result, or by what its scheduler and its log tell where it left none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from launcher.errors import DamagedFile
from launcher.executors.local import LocalExecutor, end_unrecorded
from launcher.executors.shared.base import JobState, recording_its_end
from launcher.executors.shared.failures import by_itself, refusal_of, unrecorded
from launcher.executors.shared.failures import without_result as cause_of_death
from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import takes_no_writes
from launcher.runs.results import Result


def outcome(run: RunDir, job: str, state: JobState) -> Result:
    """The result of a job that is over. Of one that died here without a result, the end is recorded now."""
    result = ending(run, state)
    if result is not None:
        return result
    found = without_result(run, state)
    if LocalExecutor.started(job) and run.last_job() == job:
        try:
            end_unrecorded(run, job, found.status, found.error if found.status == "failed" else None)
            return run.read_result() or found
        except OSError as error:  # the disk may be full
            if found.status == "failed" and takes_no_writes(error):
                return replace(found, error=unrecorded(run, state_text(state), refusal_of(run)))
    return found


def end_lost(run: RunDir, state: JobState) -> bool:
    """Record as cancelled what died on this machine unrecorded; of a job that a scheduler has lost, nobody can tell: False."""
    if state.status != "unknown" or state.job_id is None or not LocalExecutor.started(state.job_id):
        return False
    with recording_its_end(run):
        end_unrecorded(run, state.job_id, "cancelled", None)
    return True


def ending(run: RunDir, job: JobState) -> Result | None:
    """The result of the newest job, or None where it left none."""
    return ending_of(run, job, readable_result(run))


def ending_of(run: RunDir, job: JobState, result: Result | None) -> Result | None:
    """The same, where result.json was read already."""
    if result is None or not is_newer(run.result, run.jobs):
        return None
    # Requeued after it had stopped, it failed before it could say so.
    died_later = result.status == "stopped" and job.status == "failed" and by_itself(job.exit_code)
    return None if died_later else result


def without_result(run: RunDir, job: JobState) -> Result:
    """What stands for the result of a job that left none."""
    is_cancelled = job.status == "cancelled" or run.cancel.exists()
    status: Literal["cancelled", "failed"] = "cancelled" if is_cancelled else "failed"
    error = cause_of_death(run, job.job_id, state_text(job), job.exit_code)
    return Result(status, error=replace(error, remedy=error.remedy or job.remedy))


def state_text(state: JobState) -> str:
    """A job's state in a few words."""
    job = f"job {state.job_id} " if state.job_id else ""
    if state.status in ("unknown", "unreachable") and job and state.reason:
        return f"{job.rstrip()}: {state.reason}"
    reason = f" ({state.reason})" if state.reason else ""
    nodes = f" on {state.nodes}" if state.nodes else ""
    return f"{job}{state.status}{reason}{nodes}"


def is_newer(path: Path, other: Path) -> bool:
    """Whether a file is there and was written after another one, or alone."""
    try:
        written = path.stat().st_mtime_ns
    except FileNotFoundError:  # a new attempt takes the result of the last one away
        return False
    try:
        return written >= other.stat().st_mtime_ns
    except FileNotFoundError:
        return True


def readable_result(run: RunDir) -> Result | None:
    """result.json, or None where it is missing or damaged."""
    try:
        return run.read_result()
    except DamagedFile:
        return None
