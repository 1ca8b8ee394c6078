"""The state of a run for a reader: the lines of `launch status RUN`, and the cells of a list of runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import tasks
from launcher.cli.run_state import ON_NODES, RunState, RunView
from launcher.cli.summary import cause, metrics_text, row, shown
from launcher.figures import human_number, human_seconds, moment
from launcher.health.stalls import SHOWN_FROM
from launcher.runs.attempts import Hang


def state_lines(state: RunState) -> Iterator[str]:
    """One run's state for a reader."""
    job = state.job
    where = f" on {job.nodes}" if job.nodes else ""
    why = f" ({job.reason})" if job.reason else ""
    yield f"{state.run_id}: {state.status}{why}{where}"
    if job.waits_for is not None:
        yield row("waits", job.waits_for)
    if state.status == "pending" and job.started_at is not None:
        yield row("starts", f"{moment(job.started_at)}, as far as is known")
    yield from _progress_lines(state)
    yield from _health_lines(state)
    yield from _evaluation_lines(state)
    yield from _result_lines(state)
    for node in state.excluded:
        ago = human_seconds(time.time() - node.since)
        yield row("without", f"{node.host}, for {ago}: {node.reason}")
    last = "the last as " if state.attempts else ""
    its_job = "" if job.job_id is None else f", {last}{state.executor} job {job_number(job.job_id)}"
    yield row("attempts", f"{state.attempts}{its_job}")
    yield row("directory", shown(Path(state.run_dir)))
    for number, command in enumerate(state.next):
        yield row("next" if number == 0 else "", command)


def _progress_lines(state: RunState) -> Iterator[str]:
    stopping = " (a stop is requested)" if state.stop_requested and state.result is None else ""
    if state.phase and state.phase != "training":
        yield row("doing", f"{state.phase}{stopping}")
    if state.step is not None:
        left = f", {human_seconds(state.eta_s)} left" if state.eta_s is not None and not state.stall else ""
        yield row("step", f"{state.step} of {state.total or 'unknown'}{left}{stopping}")
    if state.loss is not None:
        yield row("loss", human_number(state.loss))
    if state.examples_per_s is not None:
        yield row("speed", f"{state.examples_per_s:.0f} examples/s")


def _health_lines(state: RunState) -> Iterator[str]:
    """What hangs, and who is slow, as long as the run goes on."""
    if state.stall is not None:
        yield _stall_line(state.stall)
    times = state.step_times
    if times is not None and times.sentence is not None and state.status in ON_NODES:
        yield row("slow", times.sentence)


def _stall_line(stall: Hang) -> str:
    """What makes no progress, and what follows: much may take a minute, and is no hang for that."""
    bound = stall.bound_s
    if bound is None:
        return row("stuck", stall.sentence)
    follows = "is being ended" if stall.silent_s > bound else f"is ended after {human_seconds(bound)}"
    label = "stuck" if stall.silent_s > SHOWN_FROM * bound else "quiet"
    return row(label, f"{stall.sentence}; the attempt {follows}")


def _evaluation_lines(state: RunState) -> Iterator[str]:
    """The newest evaluation of each split, but of the test where the result has it."""
    for split, found in state.evaluations.items():
        if split != "test" or state.result is None or state.result.test is None:
            yield row(split, f"{metrics_text(found.metrics)}  (step {found.step})")


def _result_lines(state: RunState) -> Iterator[str]:
    result = state.result
    if result is not None and result.best is not None:
        best = result.best
        yield row("best", f"{best.metric} {human_number(best.value)} at step {best.step}")
    if result is not None and result.test is not None:
        yield row("test", metrics_text(result.test))
    error = None if result is None else result.error
    if state.status == "failed" or error is not None:
        yield from cause(error)


def job_number(job_id: str | None) -> str:
    """The number of a job without its executor's name."""
    return "none" if job_id is None else job_id.removeprefix("local ")


def remark(view: RunView) -> str:
    """The last cell of a line: why a job waits, what hangs, why a run failed, or its metric."""
    job = view.job
    if job.status == "pending":
        starts = f"starts {moment(job.started_at)}, " if job.started_at is not None else ""
        return f"{starts}waits {job.waits_for or f'({job.reason})'}" if job.reason else starts.rstrip(", ")
    if job.active and job.waits_for is not None:
        return f"waits {job.waits_for}"
    if view.stall is not None:
        return view.stall.sentence
    error = None if view.result is None else view.result.error
    if error is not None and job.status == "failed":
        return f"{error.kind}: {error.message.strip().splitlines()[0] if error.message.strip() else ''}"
    never_started = job.reason if job.status == "waiting" else None
    return metric_text(view) or never_started or ""


def metric_text(view: RunView) -> str:
    """The best metric of a run, or what its newest evaluation says of the one that chooses."""
    best = None if view.result is None else view.result.best
    if best is not None:
        return f"{best.metric} {human_number(best.value)}"
    metrics, recipe = newest_metrics(view), view.plan.recipe
    chosen = recipe.eval.metric or tasks.named(recipe.task).metric
    return metrics_text({chosen: metrics[chosen]} if chosen in metrics else metrics)


def newest_metrics(view: RunView) -> Mapping[str, Any]:
    """All of the newest evaluation on the validation data; none where there was none."""
    validation = view.evaluations.get("validation")
    return {} if validation is None else validation.metrics
