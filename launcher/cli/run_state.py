"""What is known about a run from outside: its job, its last events, its result."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launcher.cli.summary import cause, changed, metrics_text, owed_to_the_recipe, shown
from launcher.cli.train_process import parse_event
from launcher.errors import UserError
from launcher.executors import JobState, executor_for
from launcher.executors.outcome import ending, is_newer, readable_result, without_result
from launcher.executors.slurm import queue
from launcher.figures import human_number, human_seconds
from launcher.runs.directory import RunDir, read_json

TAIL_BYTES = 1 << 18
SETTLED_AFTER_S = 600.0
"""A job that Slurm puts back, or that died once more, is found out by then; later the queue alone is asked."""
ENDED = ("completed", "stopped", "failed", "cancelled")
FINAL = ("completed", "cancelled")
"""A scheduler doesn't start a job again after one of these."""
WIDTH = 12


def run_state(run: RunDir) -> dict[str, Any]:
    """Everything that `launch status RUN --json` says."""
    plan = run.read_plan()
    result = readable_result(run)
    job = job_state(run, str(plan["executor"]), result)
    events = last_events(run)
    step, training = events.get("step", {}), events.get("phase", {})
    active = job.active
    done = (result or {}).get("steps") if not active else None
    if ending(run, job) is None:
        result = None if active else _told_by_others(run, job) or result
    elif active and job.status != "unreachable":
        result = None
    return {
        "run_id": run.run_id,
        "run_dir": str(run.path),
        "name": plan["name"],
        "executor": plan["executor"],
        "status": job.status,
        "job": asdict(job),
        "attempts": len(run.attempt_numbers()),
        "created_at": run.plan.stat().st_mtime,
        "phase": training.get("name") if active else None,
        "step": done or step.get("step"),
        "total": step.get("total") or plan["steps"]["total"],
        "loss": step.get("loss"),
        "examples_per_s": step.get("examples_per_s"),
        "eta_s": step.get("eta_s") if active else None,
        "metrics": events.get("eval", {}).get("metrics"),
        "metrics_step": events.get("eval", {}).get("step"),
        "stop_requested": run.stop.exists(),
        "result": result,
        "next": list(next_steps(run, job)),
    }


def job_state(run: RunDir, executor: str, result: dict[str, Any] | None) -> JobState:
    """The state of the newest job. Where its end is on record, only a scheduler that may start it again is asked."""
    if result is None or result.get("status") not in ENDED or not is_newer(run.result, run.jobs):
        return executor_for(executor).state(run)
    recorded = JobState(result["status"], run.last_job())
    if executor == "local" or recorded.status in FINAL:
        return recorded
    try:
        if _is_old(run.result) and run.last_job() not in (queue() or ()):
            return recorded
        state = executor_for(executor).state(run)
    except UserError:  # a run directory can be read where there is no Slurm
        return recorded
    return state if state.active or ending(run, state) is None else recorded


def _is_old(result: Path) -> bool:
    """Whether only the queue is asked about a job with this result: a list of many runs has many of them."""
    return time.time() - result.stat().st_mtime > SETTLED_AFTER_S


def _told_by_others(run: RunDir, job: JobState) -> dict[str, Any] | None:
    """The same, where the scheduler or the job's log tells more than that the job is gone."""
    if job.job_id is None or job.status not in ("failed", "unknown"):
        return None
    found = without_result(run, job)
    return found if job.status == "failed" or found["error"]["class"] != "killed" else None


def last_events(run: RunDir) -> dict[str, dict[str, Any]]:
    """The newest event of each kind, as far as the end of the events' file tells."""
    try:
        with run.events.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return {}
    events = (parse_event(line) for line in lines)
    return {event["event"]: event for event in events if event is not None}


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
            failed = owed_to_the_recipe(run.read_result() or {})
            yield changed(run) if failed else f"launch resume {run.run_id}"


def state_lines(state: dict[str, Any]) -> Iterator[str]:
    """One run's state for a reader."""
    job, result = state["job"], state["result"] or {}
    where = f" on {job['nodes']}" if job["nodes"] else ""
    why = f" ({job['reason']})" if job["reason"] else ""
    yield f"{state['run_id']}: {state['status']}{why}{where}"
    stopping = " (a stop is requested)" if state["stop_requested"] and state["result"] is None else ""
    if state["phase"] and state["phase"] != "training":
        yield _row("doing", f"{state['phase']}{stopping}")
    if state["step"] is not None:
        left = f", {human_seconds(state['eta_s'])} left" if state["eta_s"] is not None else ""
        yield _row("step", f"{state['step']} of {state['total'] or 'unknown'}{left}{stopping}")
    if state["loss"] is not None:
        yield _row("loss", human_number(state["loss"]))
    if state["examples_per_s"] is not None:
        yield _row("speed", f"{state['examples_per_s']:.0f} examples/s")
    if state["metrics"]:
        yield _row("validation", f"{metrics_text(state['metrics'])}  (step {state['metrics_step']})")
    yield from _result_lines(state, result)
    yield _row(
        "attempts", f"{state['attempts']}, the last as {state['executor']} job {_job_number(job['job_id'])}"
    )
    yield _row("directory", shown(Path(state["run_dir"])))
    for number, command in enumerate(state["next"]):
        yield _row("next" if number == 0 else "", command)


def _job_number(job_id: str | None) -> str:
    return "none" if job_id is None else job_id.removeprefix("local ")


def _result_lines(state: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    best = result.get("best")
    if best:
        yield _row("best", f"{best['metric']} {human_number(best['value'])} at step {best['step']}")
    if result.get("test"):
        yield _row("test", metrics_text(result["test"]))
    if state["status"] == "failed" or result.get("error"):
        yield from cause(result.get("error"))


def summary_row(run: RunDir) -> dict[str, Any]:
    """One line of the list of runs."""
    state = run_state(run)
    best = (state["result"] or {}).get("best")
    metric = (
        f"{best['metric']} {human_number(best['value'])}" if best else metrics_text(state["metrics"] or {})
    )
    return {**state, "metric": metric}


def list_row(row: dict[str, Any]) -> list[str]:
    """The cells of one line of the list of runs."""
    created = dt.datetime.fromtimestamp(row["created_at"]).astimezone()
    progress = "" if row["step"] is None else f"{row['step']}/{row['total'] or '?'}"
    left = "" if row["eta_s"] is None else human_seconds(row["eta_s"])
    return [row["run_id"], row["status"], progress, left, row["metric"], f"{created:%Y-%m-%d %H:%M}"]


def attempt_records(run: RunDir) -> list[dict[str, Any]]:
    """What is on record about each attempt."""
    return [read_json(run.attempt(number).record) or {"number": number} for number in run.attempt_numbers()]


def _row(name: str, text: str) -> str:
    return f"  {name:<{WIDTH}}{text}"
