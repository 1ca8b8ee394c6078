"""What `launch status`, `stop`, `cancel` and `resume` do with a sweep: the same to each of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from launcher.cli.output import say, show, show_json, table
from launcher.cli.run_state import list_row, metric_text, moment, run_state
from launcher.cli.waiting import left_of
from launcher.errors import LauncherError, Problem, RunFailed, UserError
from launcher.executors import Executor, executor_for
from launcher.executors.shared.base import ACTIVE
from launcher.runs.directory import RunDir, write_text
from launcher.sweeps.halving import Decision, stopped_early
from launcher.sweeps.queue import Wish
from launcher.sweeps.sweep import Sweep


class Line(NamedTuple):
    """A run in a list of runs: its cells in the table, and as JSON."""

    created_at: float
    cells: list[str]
    tree: dict[str, Any]


def line_of(run: RunDir) -> Line:
    """A run in a list: one that can't be read hides no other, and its line says which file is damaged."""
    try:
        state = run_state(run)
        return Line(state.created_at, list_row(state), {**state.tree(), "metric": metric_text(state)})
    except LauncherError as error:
        reason = str(error).splitlines()[0]
    there = run.path.exists()
    created = run.path.stat().st_mtime if there else 0.0
    status = "damaged" if there else "missing"
    tree: dict[str, Any] = {
        "run_id": run.run_id,
        "run_dir": str(run.path),
        "status": status,
        "created_at": created,
        "step": None,
        "total": None,
        "eta_s": None,
        "metric": "",
        "error": reason,
    }
    said = reason.removeprefix(f"{run.path}/") if there else "its directory is gone"
    return Line(created, [run.run_id, status, "", "", said, moment(created) if there else ""], tree)


def show_status(sweep: Sweep, *, as_json: bool) -> None:
    """A table of the trials in the order of the grid, and how many there are of each status."""
    early = stopped_early(sweep.directory)
    lines = [_as_decided(line_of(run), early.get(run.run_id)) for run in sweep.runs()]
    counts = counted(line.tree["status"] for line in lines)
    if as_json:
        trials = [
            {**line.tree, "values": trial.values} for line, trial in zip(lines, sweep.trials, strict=True)
        ]
        document = {"sweep": sweep.name, "directory": str(sweep.directory), "at_once": sweep.at_once}
        show_json({**document, "counts": counts, "trials": trials})
        return
    start = len(sweep.name) + 1
    rows = [[line.cells[0][start:], *line.cells[1:5]] for line in lines]
    show(table(rows, [f"{sweep.name}.", "status", "step", "left", "metric"]))
    show(f"{len(lines)} trials: {counts_text(counts)}")


def _as_decided(line: Line, decision: Decision | None) -> Line:
    """The line of a trial that a search has stopped says so."""
    if decision is None or line.tree["status"] != "stopped":
        return line
    name, _, *others = line.cells
    tree = {**line.tree, "status": "stopped early", "stopped_early": str(decision)}
    return Line(line.created_at, [name, "stopped early", *others], tree)


def counted(statuses: Iterable[str]) -> dict[str, int]:
    """How often each status is there."""
    known = list(statuses)
    return {status: known.count(status) for status in dict.fromkeys(known)}


def counts_text(counts: dict[str, int]) -> str:
    """For a reader: `4 completed, 2 running`."""
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"


def end_trials(sweep: Sweep, wish: Wish, *, wait: bool, as_json: bool) -> None:
    """Ask every active trial to stop, or kill it; a command that works the sweep off starts no more of them.

    What waits goes first, or it would start in the place of what is ended. Raises UserError where no trial is active.
    """
    states = [(run, executor, executor.state(run)) for run, executor in _with_executors(sweep.runs())]
    active = [(run, executor, state) for run, executor, state in states if state.active]
    if not active:
        remedy = f"launch status {sweep.name}"
        raise UserError(Problem("has no trial that is running", where=sweep.name, remedy=remedy))
    write_text(sweep.request, wish)
    refused: list[str] = []
    for run, executor, _ in sorted(active, key=lambda each: each[2].status != "pending"):
        try:
            executor.cancel(run) if wish == "cancel" else executor.stop(run)
        except UserError:
            continue  # it has just ended by itself
        except RunFailed as error:
            refused.append(f"{run.run_id}: {error}")
    if wait:
        refused += left_of([(run, executor) for run, executor, _ in active])
    _report(sweep, [(run, executor) for run, executor, _ in active], wish, as_json=as_json)
    if refused:
        raise RunFailed("scheduler", "\n".join(refused), f"launch status {sweep.name}")


def _report(sweep: Sweep, ended: Sequence[tuple[RunDir, Executor]], wish: str, *, as_json: bool) -> None:
    now = {run.run_id: executor.state(run).status for run, executor in ended}
    if as_json:
        show_json({"sweep": sweep.name, "trials": now})
        return
    going = sum(status in ACTIVE for status in now.values())
    asked = "cancelled" if wish == "cancel" else "asked to save and stop"
    say(f"{sweep.name}: {len(now)} trials {asked}" + (f", {going} not ended yet" if going else ""))


def _with_executors(runs: Iterable[RunDir]) -> list[tuple[RunDir, Executor]]:
    there = [run for run in runs if run.plan.exists()]
    return [(run, executor_for(run.read_plan().executor)) for run in there]
