"""How a job of Slurm's is ended, and what may be left of it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable

from launcher.errors import DamagedFile, RunFailed
from launcher.executors.shared.base import JobState, ended_for_good, recorded_state, recording_its_end
from launcher.executors.shared.slurm_commands import message_of, run_slurm
from launcher.executors.shared.slurm_records import timestamp
from launcher.executors.shared.slurm_states import asked_for, known_state
from launcher.runs.directory import RunDir
from launcher.runs.requests import ask_to_end

RECORD_TIMEOUT_S = 5.0
"""Longest to wait for the script of a killed training to record that."""
CANCEL_TIMEOUT_S = 45.0
"""Longest to wait for a killed job to be gone: Slurm's KillWait is 30 s by default."""


def kill(run: RunDir, state: JobState) -> None:
    """Kill the one job of a run; returns once it is gone. Raises RunFailed where something of it is left."""
    assert state.job_id is not None
    # Slurm may take long over what is left of a job: how its run ended stays as it is.
    has_said = state.status == "completing" and recorded_state(run, state.job_id).status != "unknown"
    if not has_said:
        ask_to_end(run)
    if state.status == "running":
        # The training first, with no time to save; its script lives on for a moment and records the end.
        steps = run_slurm(
            ["squeue", "--all", "--steps", "--noheader", f"--jobs={state.job_id}", "--format=%i"]
        )
        numbered = [step for step in steps.stdout.split() if step.rpartition(".")[2].isdigit()]
        if numbered:
            run_slurm(["scancel", "--signal=KILL", *numbered])
        _wait(lambda: not run.cancel.exists(), RECORD_TIMEOUT_S)
    done = run_slurm(["scancel", state.job_id])
    gone = _wait(functools.partial(_has_ended, state.job_id), CANCEL_TIMEOUT_S)
    if gone and not has_said:
        _record_cancelled(run, state.job_id)
    if left := _what_is_left(state.job_id, message_of(done.stderr)):
        remedy = f"look at its processes there (ps); launch cancel {run.run_id} asks again"
        raise RunFailed("scheduler", left, remedy)


def cancel_member(run: RunDir, state: JobState) -> None:
    """End a run that shares its job with others, which go on: the job's script sees the request and kills it."""
    assert state.job_id is not None
    ask_to_end(run)
    if state.status != "pending":
        has_ended = functools.partial(ended_for_good, run, state.job_id)
        _wait(lambda: not run.cancel.exists() or has_ended(), CANCEL_TIMEOUT_S)
        if has_ended() and not _wait(lambda: not run.cancel.exists(), RECORD_TIMEOUT_S):
            run.cancel.unlink(missing_ok=True)  # it had ended by itself before anybody looked for the request
    elif run.cancel.exists():
        _record_cancelled(run, state.job_id)
    if run.cancel.exists():
        where = f" on {state.nodes}" if state.nodes else ""
        remedy = f"scancel {asked_for(state.job_id)} ends it and those that it shares the job with"
        raise RunFailed("scheduler", f"job {state.job_id} was told to end, and has not{where}", remedy)
    leave_the_queue(run, state.job_id)


def leave_the_queue(run: RunDir, job: str) -> None:
    """Take a job that waits out of the queue, once all runs that share it have ended."""
    others = (RunDir(path) for path in run.path.parent.iterdir() if (path / "control" / "jobs").is_file())
    if all(
        ended_for_good(other, last) for other in others if (last := _job_if_shared(other, job)) is not None
    ):
        take_out_of_the_queue(asked_for(job))


def _job_if_shared(other: RunDir, job: str) -> str | None:
    """The newest job of another run where it is the same one for Slurm; of a damaged run nobody can say that it is."""
    with contextlib.suppress(DamagedFile):
        last = other.last_job()
        return last if last is not None and asked_for(last) == asked_for(job) else None
    return None


def take_out_of_the_queue(job: str) -> None:
    """Cancel a job that waits; one that has started meanwhile reads the stop file.

    With a state to look for, scancel takes all waiting elements of an array for one; but one that is held stands alone.
    """
    if "_" not in job:
        run_slurm(["scancel", "--state=PENDING", job])
        return
    run_slurm(["scontrol", "hold", job])
    run_slurm(["scancel", "--state=PENDING", job])
    run_slurm(["scontrol", "release", job])


def _record_cancelled(run: RunDir, job: str) -> None:
    """For a job whose script did not: it was killed, or another job's took the request for its own."""
    status = recorded_state(run, job).status
    if status == "completed":
        run.cancel.unlink(missing_ok=True)
    elif status != "cancelled" or run.cancel.exists():
        from launcher.runs import endings

        with recording_its_end(run):
            endings.cancelled(run)


def _has_ended(job: str) -> bool:
    state = known_state(job)
    return state is None or not state.active


def _what_is_left(job: str, refusal: str) -> str:
    """A sentence on what is still there of a job that was told to end, and where; empty where nothing is."""
    state = known_state(job)
    if state is None:
        return ""
    lost = _lost_nodes(state)
    if not state.active:
        given_up = f"Slurm has given up {lost}: processes of it may still be there"
        return f"job {job} has ended, but {given_up}" if lost else ""
    where = f" on {state.nodes}" if state.nodes else ""
    if state.status != "completing":
        return f"job {job} was told to end: {refusal or f'it is still {state.status}{where}'}"
    since = f", since {time.strftime('%H:%M:%S', time.localtime(state.ends_by))}" if state.ends_by else ""
    given_up = f"; Slurm has given up {lost}" if lost else ""
    return f"job {job} was killed, but something of it is still there{where}{since}{given_up}"


def _lost_nodes(state: JobState) -> str:
    """Nodes of a job that have been out of use since its end, with the reason: `node1 (Kill task failed)`."""
    if state.nodes is None:
        return ""
    done = run_slurm(
        ["sinfo", "--all", "--noheader", "--Node", f"--nodes={state.nodes}", "--format=%N|%H|%E"]
    )
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    changed = [(name, reason, timestamp(at)) for name, at, reason in (row for row in rows if len(row) == 3)]
    since = state.ends_by or 0.0
    lost = [f"{name} ({reason})" for name, reason, at in changed if at is not None and at >= since]
    return ", ".join(dict.fromkeys(lost))


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
