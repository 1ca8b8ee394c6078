"""Lists of runs, and what `launch status`, `stop`, `cancel` and `resume` do with a sweep: the same to each of its trials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.cli.output import fitted, say, show, show_json, table
from launcher.cli.run_state import RunView, run_views
from launcher.cli.state_text import metric_text, remark
from launcher.cli.waiting import left_of
from launcher.errors import LauncherError, RunFailed, UntrustedFile, UserError
from launcher.executors import Executor, executor_for
from launcher.executors.shared.base import ACTIVE
from launcher.figures import human_seconds, moment, quantity
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text

if TYPE_CHECKING:
    from launcher.sweeps.halving import Decision
    from launcher.sweeps.queue import Wish
    from launcher.sweeps.sweep import Sweep


HEADERS = ("run", "status", "step", "left", "metric or cause", "created")
LAST = 4
"""The cell that is cut first where a terminal is too narrow: it says most, and the beginning of it is worth most."""


@dataclass(frozen=True)
class Line:
    """A run in a list of runs."""

    run: RunDir
    created_at: float
    status: str
    view: RunView | None
    """None of a run that can't be read."""
    doubt: str = ""
    """Why it can't be."""
    decision: str = ""
    """By which rule a search has stopped it."""

    @property
    def cells(self) -> list[str]:
        """As a row of the table; see HEADERS."""
        created = moment(self.created_at) if self.created_at else ""
        if self.view is None:
            return [
                self.run.run_id,
                self.status,
                "",
                "",
                self.doubt.removeprefix(f"{self.run.path}/").removeprefix(f"{self.run.path}: "),
                created,
            ]
        step, eta_s = self.view.step, self.view.eta_s
        progress = "" if step is None else f"{step}/{self.view.total or '?'}"
        left = "" if eta_s is None else human_seconds(eta_s)
        return [self.run.run_id, self.status, progress, left, remark(self.view), created]

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON."""
        if self.view is not None:
            try:
                state = self.view.state().tree()
            except LauncherError as error:  # of its plan, which the table does without
                return replace(self, view=None, status="damaged", doubt=str(error).splitlines()[0]).tree
            known = {**state, "status": self.status, "metric": metric_text(self.view)}
            return known | ({"stopped_early": self.decision} if self.decision else {})
        nothing = {"step": None, "total": None, "eta_s": None, "metric": ""}
        known = {"run_id": self.run.run_id, "run_dir": str(self.run.path), "status": self.status}
        return {**known, "created_at": self.created_at, **nothing, "error": self.doubt}


def lines_of(runs: Iterable[RunDir]) -> list[Line]:
    """A line for each run: one that can't be read hides no other, and its line says which file is to blame."""
    return [_line(RunDir(path), view) for path, view in run_views(runs).items()]


def _line(run: RunDir, view: RunView | LauncherError) -> Line:
    if isinstance(view, RunView):
        try:
            return Line(run, view.created_at, view.job.status, view)
        except LauncherError as error:
            view = error
    if not run.path.exists():
        return Line(run, 0.0, "missing", None, "its directory is gone")
    status = "untrusted" if isinstance(view, UntrustedFile) else "damaged"
    return Line(run, run.path.stat().st_mtime, status, None, str(view).splitlines()[0])


def show_list(lines: Sequence[Line], *, as_json: bool) -> None:
    """The runs, newest first, and how many there are of each status."""
    ordered = sorted(lines, key=lambda line: line.created_at, reverse=True)
    if as_json:
        show_json([line.tree for line in ordered])
        return
    show(table(fitted([HEADERS, *(line.cells for line in ordered)], LAST)))
    if len(ordered) > 1:
        say(f"{len(ordered):,} runs: {counts_text(status_counts(line.status for line in ordered))}")


def changed_since(runs: Iterable[RunDir], moment_s: float) -> list[RunDir]:
    """Runs that were planned, started or ended, or said something, since then; Unix seconds."""
    return [run for run in runs if changed_at(run) >= moment_s]


def changed_at(run: RunDir) -> float:
    """When something last happened to a run; Unix seconds."""
    times = [0.0]
    for path in (run.plan, run.jobs, run.events, run.result):
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def show_status(sweep: Sweep, *, as_json: bool) -> None:
    """A table of the trials in the order of the grid, and how many there are of each status."""
    from launcher.sweeps.halving import stopped_early

    early = stopped_early(sweep.directory)
    lines = [_as_decided(line, early.get(line.run.run_id)) for line in lines_of(sweep.runs())]
    counts = status_counts(line.status for line in lines)
    if as_json:
        trials = [
            {**line.tree, "values": trial.values} for line, trial in zip(lines, sweep.trials, strict=True)
        ]
        document = {"sweep": sweep.name, "directory": str(sweep.directory), "at_once": sweep.at_once}
        show_json({**document, "counts": counts, "trials": trials})
        return
    start = len(sweep.name) + 1
    rows = [[line.cells[0][start:], *line.cells[1:5]] for line in lines]
    show(table(fitted([[f"{sweep.name}.", *HEADERS[1:5]], *rows], LAST)))
    show(f"{quantity(len(lines), 'trial')}: {counts_text(counts)}")


def _as_decided(line: Line, decision: Decision | None) -> Line:
    """The line of a trial that a search has stopped says so."""
    if decision is None or line.status != "stopped":
        return line
    return replace(line, status="stopped early", decision=str(decision))


def status_counts(statuses: Iterable[str]) -> dict[str, int]:
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
        raise UserError("has no trial that is running", where=sweep.name, remedy=remedy)
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
    say(
        f"{sweep.name}: {quantity(len(now), 'trial')} {asked}" + (f", {going} not ended yet" if going else "")
    )


def _with_executors(runs: Iterable[RunDir]) -> list[tuple[RunDir, Executor]]:
    there = [run for run in runs if run.plan.exists()]
    return [(run, executor_for(run.read_plan().executor)) for run in there]
