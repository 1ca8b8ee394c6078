"""`launch status`, `stop` and `cancel`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.executors import Executor, JobState
    from launcher.run import RunDir

WAIT_POLL_S = 0.5


@click.command("status")
@click.argument("reference", required=False, metavar="[RUN]")
@options.runs_dir
@options.as_json
@options.examples("""
    launch status
    launch status smoke-20260131
    launch status --json
""")
def status_command(reference: str | None, runs_dir: Path | None, as_json: bool) -> None:
    """The runs, newest first; or one run: state, step, speed, metrics, time left, what went wrong, what to do next."""
    from launcher.cli.output import say, show, show_json, table
    from launcher.cli.state import attempt_records, list_row, run_state, state_lines, summary_row
    from launcher.run import find, list_runs

    directory = options.resolve_runs_dir(runs_dir)
    if reference is not None:
        run = find(reference, directory)
        state = run_state(run)
        if as_json:
            show_json({**state, "attempt_records": attempt_records(run)})
        else:
            show("\n".join(state_lines(state)))
        return
    rows = sorted(map(summary_row, list_runs(directory)), key=lambda row: row["created_at"], reverse=True)
    if as_json:
        show_json(rows)
    elif not rows:
        say(f"no runs in {directory}; the first: launch recipe=smoke")
    else:
        show(table([list_row(row) for row in rows], ["run", "status", "step", "left", "metric", "created"]))


@click.command("stop")
@options.run_argument
@click.option("--wait", is_flag=True, help="Return when the run has ended.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch stop smoke-20260131 --wait
""")
def stop_command(reference: str, wait: bool, runs_dir: Path | None, as_json: bool) -> None:
    """Save the state of a run at the end of its current step, then stop it; launch resume continues it."""
    run, executor = _active(reference, runs_dir)
    executor.stop(run)
    _report(run, executor, "asked to save and stop", wait=wait, as_json=as_json)


@click.command("cancel")
@options.run_argument
@options.runs_dir
@options.as_json
@options.examples("""
    launch cancel smoke-20260131
""")
def cancel_command(reference: str, runs_dir: Path | None, as_json: bool) -> None:
    """Kill a run now; steps since its last checkpoint are lost."""
    run, executor = _active(reference, runs_dir)
    executor.cancel(run)
    _report(run, executor, "cancelled", wait=False, as_json=as_json)


def _active(reference: str, runs_dir: Path | None) -> tuple[RunDir, Executor]:
    """A run that still has a job. Raises UserError where it has none."""
    from launcher.errors import Problem, UserError
    from launcher.executors import executor_for
    from launcher.run import find

    run = find(reference, options.resolve_runs_dir(runs_dir))
    executor = executor_for(str(run.read_plan()["executor"]))
    state = executor.state(run)
    if not state.active:
        remedy = f"launch status {run.run_id}"
        raise UserError(Problem(f"is not running: it is {state.status}", where=run.run_id, remedy=remedy))
    return run, executor


def _report(run: RunDir, executor: Executor, what: str, *, wait: bool, as_json: bool) -> None:
    from launcher.cli.output import say, show_json

    state: JobState = executor.state(run)
    while wait and state.active:
        time.sleep(WAIT_POLL_S)
        state = executor.state(run)
    document: dict[str, Any] = {"run_id": run.run_id, "status": state.status}
    if as_json:
        show_json(document)
    else:
        silent = f" ({state.reason})" if state.status == "unreachable" else ""
        say(f"{run.run_id} is {state.status}" if wait else f"{run.run_id}: {what}{silent}")
