"""What is known about a run from outside: its job, its last events, its result."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.cli.summary import cause, changed, metrics_text, owed_to_the_recipe, shown
from launcher.errors import UserError
from launcher.executors import JobState, executor_for
from launcher.executors.shared.outcome import ending, is_newer, readable_result, without_result
from launcher.figures import human_number, human_seconds
from launcher.health.stalls import seen_from_outside
from launcher.runs.attempts import Hang
from launcher.runs.directory import RunDir, checked
from launcher.runs.events import Evaluated, Phase, Step, StepTimes, last_events
from launcher.runs.records import tree_of
from launcher.runs.results import Metrics, Result

QUEUE_ALONE_AFTER_S = 600.0
"""A job that Slurm puts back, or that died once more, is found out by then; later the queue alone is asked."""
FINAL = ("completed", "cancelled")
"""A scheduler doesn't start a job again after one of these."""
ON_NODES = ("running", "completing", "unreachable")
"""A job with one of these is at work, as far as anybody knows."""
WIDTH = 12


@dataclass(frozen=True)
class Evaluation:
    """The newest evaluation of a split."""

    step: int
    metrics: Metrics


@dataclass(frozen=True)
class RunState:
    """Everything that `launch status RUN --json` says."""

    run_id: str
    run_dir: str
    name: str
    executor: str
    status: str
    job: JobState
    attempts: int
    created_at: float
    phase: str | None
    """What is being done; None unless the job is on its nodes."""
    step: int | None
    total: int | None
    loss: float | None
    examples_per_s: float | None
    eta_s: float | None
    metrics: Metrics | None
    """Of the newest evaluation on the validation data, and its step."""
    metrics_step: int | None
    evaluations: Mapping[str, Evaluation]
    """The newest evaluation of each split by its name."""
    stop_requested: bool
    stall: Hang | None
    """Which rank makes no progress, while that lasts."""
    step_times: StepTimes | None
    """What the ranks spend their steps on, and which is slow; None where there is one rank, or too few steps."""
    result: Result | None
    next: tuple[str, ...]

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**tree_of(self), "job": asdict(self.job)}


def run_state(run: RunDir) -> RunState:
    """What is known about a run. Raises UserError where it can't be believed."""
    plan = checked(run).read_plan()
    recorded = run.read_result()
    job = job_state(run, plan.executor, recorded)
    told = last_events(run.events)
    attempts = run.attempt_numbers()
    last = attempts[-1] if attempts else None
    steps = [event for event in told if isinstance(event, Step)]
    phases = [event for event in told if isinstance(event, Phase) and event.attempt in (None, last)]
    evaluations = {
        event.split: Evaluation(event.step, event.metrics) for event in told if isinstance(event, Evaluated)
    }
    step = steps[-1] if steps else Step()
    at_work = job.status in ON_NODES and step.attempt in (None, last)
    validation = evaluations.get("validation")
    done = recorded.steps if recorded is not None and not job.active else None
    return RunState(
        run_id=run.run_id,
        run_dir=str(run.path),
        name=plan.name,
        executor=plan.executor,
        status=job.status,
        job=job,
        attempts=len(attempts),
        created_at=run.plan.stat().st_mtime,
        phase=phases[-1].name if phases and job.status in ON_NODES else None,
        step=done or (step.step if steps else None),
        total=step.total or plan.steps.total,
        loss=step.loss,
        examples_per_s=step.examples_per_s if at_work or not job.active else None,
        eta_s=step.eta_s if at_work else None,
        metrics=None if validation is None else validation.metrics,
        metrics_step=None if validation is None else validation.step,
        evaluations=evaluations,
        stop_requested=run.stop.exists(),
        stall=stalled(run, job),
        step_times=next((event for event in reversed(told) if isinstance(event, StepTimes)), None),
        result=_result_of(run, job, recorded),
        next=tuple(next_steps(run, job)),
    )


def _result_of(run: RunDir, job: JobState, recorded: Result | None) -> Result | None:
    """The result of the newest job, or what the scheduler and the log tell where it left none."""
    if ending(run, job) is None:
        return None if job.active else _told_by_others(run, job) or recorded
    return None if job.active and job.status != "unreachable" else recorded


def job_state(run: RunDir, executor: str, result: Result | None) -> JobState:
    """The state of the newest job. Where its end is on record, only a scheduler that may start it again is asked."""
    if result is None or not is_newer(run.result, run.jobs):
        return executor_for(executor).state(run)
    recorded = JobState(result.status, run.last_job())
    if recorded.status in FINAL:
        return recorded
    try:
        if _is_old(run.result) and not executor_for(executor).may_start_again(run.last_job()):
            return recorded
        state = executor_for(executor).state(run)
    except UserError:  # a run directory can be read where there is no Slurm
        return recorded
    return state if state.active or ending(run, state) is None else recorded


def _is_old(result: Path) -> bool:
    """Whether only the queue is asked about a job with this result: a list of many runs has many of them."""
    return time.time() - result.stat().st_mtime > QUEUE_ALONE_AFTER_S


def _told_by_others(run: RunDir, job: JobState) -> Result | None:
    """The same, where the scheduler or the job's log tells more than that the job is gone."""
    if job.job_id is None or job.status not in ("failed", "unknown"):
        return None
    found = without_result(run, job)
    is_mere_absence = found.error is not None and found.error.kind == "killed"
    return found if job.status == "failed" or not is_mere_absence else None


def next_steps(run: RunDir, job: JobState) -> Iterator[str]:
    """Commands that make sense now."""
    match job.status:
        case "pending":
            yield f"launch cancel {run.run_id}"
        case "running" | "completing" | "unreachable":
            yield f"launch logs {run.run_id} -f"
            yield f"launch stop {run.run_id}"
        case "completed":
            yield f"launch predict {run.run_id} FILE"
            yield f"launch eval {run.run_id} FILE"
        case "stopped" | "cancelled" | "preempted":
            yield f"launch resume {run.run_id}"
        case _:
            yield f"launch logs {run.run_id}"
            failed = owed_to_the_recipe(readable_result(run))
            yield changed(run) if failed else f"launch resume {run.run_id}"


def state_lines(state: RunState) -> Iterator[str]:
    """One run's state for a reader."""
    job = state.job
    where = f" on {job.nodes}" if job.nodes else ""
    why = f" ({job.reason})" if job.reason else ""
    yield f"{state.run_id}: {state.status}{why}{where}"
    if state.status == "pending" and job.started_at is not None:
        yield _row("starts", f"{moment(job.started_at)}, as far as is known")
    yield from _progress_lines(state)
    yield from _health_lines(state)
    yield from _evaluation_lines(state)
    yield from _result_lines(state)
    yield _row("attempts", f"{state.attempts}, the last as {state.executor} job {_job_number(job.job_id)}")
    yield _row("directory", shown(Path(state.run_dir)))
    for number, command in enumerate(state.next):
        yield _row("next" if number == 0 else "", command)


def stalled(run: RunDir, job: JobState) -> Hang | None:
    """What makes no progress in a job that is on its nodes."""
    attempt = run.last_attempt()
    if attempt is None or job.status not in ON_NODES or attempt.read().job_id != job.job_id:
        return None
    return seen_from_outside(attempt)


def _health_lines(state: RunState) -> Iterator[str]:
    """What hangs, and who is slow, as long as the run goes on."""
    if state.stall is not None:
        yield _row("waits", state.stall.sentence)
    times = state.step_times
    if times is not None and times.sentence is not None and state.status in ON_NODES:
        yield _row("slow", times.sentence)


def _progress_lines(state: RunState) -> Iterator[str]:
    stopping = " (a stop is requested)" if state.stop_requested and state.result is None else ""
    if state.phase and state.phase != "training":
        yield _row("doing", f"{state.phase}{stopping}")
    if state.step is not None:
        left = f", {human_seconds(state.eta_s)} left" if state.eta_s is not None else ""
        yield _row("step", f"{state.step} of {state.total or 'unknown'}{left}{stopping}")
    if state.loss is not None:
        yield _row("loss", human_number(state.loss))
    if state.examples_per_s is not None:
        yield _row("speed", f"{state.examples_per_s:.0f} examples/s")


def _evaluation_lines(state: RunState) -> Iterator[str]:
    """The newest evaluation of each split, but of the test where the result has it."""
    for split, found in state.evaluations.items():
        if split != "test" or state.result is None or state.result.test is None:
            yield _row(split, f"{metrics_text(found.metrics)}  (step {found.step})")


def _job_number(job_id: str | None) -> str:
    return "none" if job_id is None else job_id.removeprefix("local ")


def _result_lines(state: RunState) -> Iterator[str]:
    result = state.result
    if result is not None and result.best is not None:
        best = result.best
        yield _row("best", f"{best.metric} {human_number(best.value)} at step {best.step}")
    if result is not None and result.test is not None:
        yield _row("test", metrics_text(result.test))
    error = None if result is None else result.error
    if state.status == "failed" or error is not None:
        yield from cause(error)


def metric_text(state: RunState) -> str:
    """The best metric of a run, or those of its newest evaluation."""
    best = None if state.result is None else state.result.best
    if best is not None:
        return f"{best.metric} {human_number(best.value)}"
    return metrics_text(state.metrics or {})


def list_row(state: RunState) -> list[str]:
    """The cells of one line of the list of runs."""
    progress = "" if state.step is None else f"{state.step}/{state.total or '?'}"
    left = "" if state.eta_s is None else human_seconds(state.eta_s)
    return [state.run_id, state.status, progress, left, metric_text(state), moment(state.created_at)]


def moment(unix_s: float) -> str:
    """A time in Unix seconds as a local date and time."""
    return f"{dt.datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M}"


def attempt_records(run: RunDir) -> list[dict[str, Any]]:
    """What is on record about each attempt."""
    return [tree_of(run.attempt(number).read()) for number in run.attempt_numbers()]


def _row(name: str, text: str) -> str:
    return f"  {name:<{WIDTH}}{text}"
