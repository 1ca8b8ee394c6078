"""`launch status`, `stop` and `cancel`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.executors import Executor, JobState
    from launcher.runs.directory import RunDir

STATES = (
    *("waiting", "pending", "running", "completing", "completed", "stopped", "failed", "cancelled"),
    *("preempted", "unreachable", "unknown", "damaged", "untrusted"),
)


@click.command("status")
@options.only_argument("[RUN | SWEEP]", required=False)
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="Only runs in this state; may be repeated.",
)
@click.option(
    "--since",
    type=options.Age(),
    metavar="AGE",
    help="Only runs active in the last 30min, 12h, 2d, 4w, ...",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch status
    launch status smoke-20260131
    launch status --state failed --since 2d
    launch status --json
""")
def status_command(
    reference: str | None,
    states: tuple[str, ...],
    since: float | None,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """The runs, newest first; or one run: state, step, speed, metrics, time left, what went wrong, what to do next.

    For a sweep, one line per trial.
    """
    from launcher.cli.many_runs import show_status
    from launcher.cli.output import say, show, show_json
    from launcher.cli.run_state import RunView, attempt_records
    from launcher.cli.state_text import state_lines
    from launcher.runs.finding import find
    from launcher.runs.metrics import doubt_of
    from launcher.runs.records import tree_of

    directory = options.resolve_runs_dir(runs_dir)
    if reference is not None and (states or since is not None):
        raise options.misused("--state and --since choose among all runs: name none")
    if reference is not None and (sweep := options.sweep_meant(reference, directory)) is not None:
        show_status(sweep, as_json=as_json)
        return
    if reference is not None:
        run = find(reference, directory)
        state = RunView(run).state()
        records, damages = attempt_records(run)
        for doubt in (doubt_of(run), *damages):
            if doubt:
                say(f"note: {doubt}")
        if as_json:
            show_json({**state.tree(), "attempt_records": list(map(tree_of, records))})
        else:
            show("\n".join(state_lines(state)))
        return
    _show_runs(directory, states, since, as_json)


def _show_runs(directory: Path, states: Sequence[str], since_s: float | None, as_json: bool) -> None:
    from launcher.cli.many_runs import changed_since, lines_of, show_list
    from launcher.cli.output import say
    from launcher.figures import quantity
    from launcher.runs.finding import closed_to_us, list_runs

    runs, closed = list(list_runs(directory)), closed_to_us(directory)
    recent = runs if since_s is None else changed_since(runs, time.time() - since_s)
    lines = [line for line in lines_of(recent) if not states or line.status in states]
    if lines or as_json:
        show_list(lines, as_json=as_json)
    elif runs:
        say(f"none of the {len(runs):,} runs in {directory} matches")
    elif not closed:
        say(f"no runs in {directory}; the first: launch recipe=smoke")
    if closed:
        say(f"{quantity(closed, 'run')} of others in {directory} can't be read: use them as their owner")


@click.command("stop")
@options.only_argument("RUN | SWEEP")
@click.option("--wait", is_flag=True, help="Return when the run has ended, or after 10 minutes.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch stop smoke-20260131 --wait
""")
def stop_command(reference: str, wait: bool, runs_dir: Path | None, as_json: bool) -> None:
    """Save the state of a run at the end of its current step, then stop it; launch resume continues it.

    For a sweep, all trials; those still waiting are not started.
    """
    if (sweep := options.sweep_meant(reference, options.resolve_runs_dir(runs_dir))) is not None:
        from launcher.cli.many_runs import end_trials

        end_trials(sweep, "stop", wait=wait, as_json=as_json)
        return
    from launcher.cli.output import say

    run, executor, state = _with_state(reference, runs_dir)
    _refuse_ended(run, state)
    executor.stop(run)
    if state.status == "running" and state.waits_for is not None:
        say(f"{run.run_id} can't stop yet, but waits {state.waits_for}")
    _report(run, executor, "asked to save and stop", wait=wait, as_json=as_json)


@click.command("cancel")
@options.only_argument("RUN | SWEEP")
@options.runs_dir
@options.as_json
@options.examples("""
    launch cancel smoke-20260131
""")
def cancel_command(reference: str, runs_dir: Path | None, as_json: bool) -> None:
    """Kill a run now, or all trials of a sweep; steps since the last checkpoint are lost."""
    if (sweep := options.sweep_meant(reference, options.resolve_runs_dir(runs_dir))) is not None:
        from launcher.cli.many_runs import end_trials

        end_trials(sweep, "cancel", wait=False, as_json=as_json)
        return
    from launcher.cli.output import say
    from launcher.executors.shared.outcome import end_lost, state_text

    run, executor, state = _with_state(reference, runs_dir)
    if not end_lost(run, state):
        _refuse_ended(run, state)
        say(f"{run.run_id}: ending {state_text(state)}")
        executor.cancel(run)
    _report(run, executor, "cancelled", wait=False, as_json=as_json)


def _with_state(reference: str, runs_dir: Path | None) -> tuple[RunDir, Executor, JobState]:
    from launcher.executors import executor_for
    from launcher.runs.finding import find

    run = find(reference, options.resolve_runs_dir(runs_dir))
    executor = executor_for(run.read_plan().executor)
    return run, executor, executor.state(run)


def _refuse_ended(run: RunDir, state: JobState) -> None:
    """Raises UserError where the run has no job."""
    from launcher.errors import UserError

    if not state.active:
        remedy = f"launch status {run.run_id}"
        raise UserError(f"is not running: it is {state.status}", where=run.run_id, remedy=remedy)


def _report(run: RunDir, executor: Executor, what: str, *, wait: bool, as_json: bool) -> None:
    from launcher.cli.output import say, show_json
    from launcher.cli.waiting import left_of
    from launcher.errors import RunFailed

    if wait and (left := left_of([(run, executor)])):
        remedy = f"launch stop {run.run_id} --wait waits on; launch cancel {run.run_id} kills it"
        raise RunFailed("timeout", left[0], remedy)
    state: JobState = executor.state(run)
    if as_json:
        show_json({"run_id": run.run_id, "status": state.status})
    else:
        silent = f" ({state.reason})" if state.status == "unreachable" else ""
        say(f"{run.run_id} is {state.status}" if wait else f"{run.run_id}: {what}{silent}")
