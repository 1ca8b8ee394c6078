"""How a run ends where the training itself can't say so: what is recorded, and what is removed.

Standard library alone, since a node starts it on every launch.
"""

from __future__ import annotations

import time
from dataclasses import replace

from launcher.runs import attempt_plan, recovered_result, retries
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.events import last_step
from launcher.runs.results import Error, Outcome


def cancelled(run: RunDir) -> None:
    """Record that the run was killed on request, and that the request is done with."""
    write_result(run, "cancelled", None)
    run.secrets.unlink(missing_ok=True)
    run.cancel.unlink(missing_ok=True)


def died(run: RunDir, status: Outcome, error: Error | None) -> None:
    """Record the end of a run whose script was killed, or never came to begin an attempt."""
    previous = run.last_attempt()
    if previous is not None:
        close(run, previous)
    write_result(run, status, error)
    for path in (run.secrets, run.stop, run.cancel):
        path.unlink(missing_ok=True)


def stopped(run: RunDir) -> None:
    """Record that the run was taken out of the queue on request."""
    write_result(run, "stopped", None)
    run.secrets.unlink(missing_ok=True)
    run.stop.unlink(missing_ok=True)


def close(run: RunDir, previous: AttemptDir) -> None:
    """Keep an earlier result with its attempt, and mark an attempt that died before it could say so."""
    if run.result.exists() and not previous.result.exists():
        run.result.replace(previous.result)
    run.result.unlink(missing_ok=True)  # otherwise it is that of a job which began no attempt
    record = previous.read()
    if record.started_at is not None and record.status is None:
        last = last_step(run.events, previous.number)
        ended = replace(record, status="interrupted", last_step=last, saved_step=retries.saved_step(run))
        previous.write(ended)


def write_result(run: RunDir, status: Outcome, error: Error | None) -> None:
    """Write result.json for a training that could not do so itself, from what its files tell."""
    run.put_model_back()
    attempts = run.attempt_numbers()
    now = time.time()
    steps = [last_step(run.events, number) for number in reversed(attempts)]
    last = run.last_attempt()
    plan = attempt_plan.plan_of(run, last) if last is not None else run.read_plan()
    run.write_result(
        replace(
            recovered_result.of_run(run, plan),
            status=status,
            run_id=run.run_id,
            steps=next((step for step in steps if step is not None), 0),
            wall_s=round(sum(_duration(run.attempt(number).read(), now) for number in attempts), 3),
            attempts=len(attempts),
            error=error,
            job_id=run.last_job(),
        )
    )


def _duration(record: Attempt, now: float) -> float:
    """Seconds of one attempt; 0 for one that died unrecorded."""
    if record.started_at is None:
        return 0.0
    still_runs = record.status is None
    return record.seconds or (max(0.0, now - record.started_at) if still_runs else 0.0)
