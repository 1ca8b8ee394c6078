"""Trials that a scheduler works off: those that ask for the same are one array, of which so many run at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.executors import Executor
from launcher.executors.shared.sbatch_lines import array_request
from launcher.planning.prepare import templates
from launcher.planning.render import render_array
from launcher.runs.changes import refuse_changes
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text
from launcher.runs.trust import checked
from launcher.sweeps.queue import completed
from launcher.sweeps.sweep import Sweep

MOST_ELEMENTS = 500
"""Of one array; a scheduler takes 1,000 at most, unless it is told otherwise."""


@dataclass(frozen=True)
class Submitted:
    """What a command has found of a sweep, and what it has done."""

    trials: dict[str, str]
    """The status of each trial by its run id."""
    jobs: tuple[str, ...]
    """The arrays that were submitted."""
    started: int
    """How many trials they hold."""


def submit(
    sweep: Sweep, runs: Sequence[RunDir], executor: Executor, at_once: int | None, each: int = 1
) -> Submitted:
    """Hand to the scheduler each run that is neither completed nor active, `at_once` of them at most side by side, and
    `each` in one job.

    Arrays with different requests follow one another where there is such a limit. Of two commands at the same time, one
    waits for the other.
    """
    with sweep.locked():
        trials = _statuses(runs, executor)
        missing = [run for run in runs if trials[run.run_id] == "missing"]
        for run in missing:
            refuse_changes(checked(run))
        jobs: list[str] = []
        for group in _alike(missing, executor):
            after = jobs[-1] if jobs and at_once else None
            jobs.append(_start(sweep, group, executor, at_once, after, min(each, len(group))))
            trials |= {run.run_id: "pending" for run in group}
    return Submitted(trials, tuple(jobs), len(missing))


def _statuses(runs: Sequence[RunDir], executor: Executor) -> dict[str, str]:
    """The status of each run by its id, in their order; the scheduler is asked once, and again about each before it starts."""
    left = [run for run in runs if not completed(run)]
    states = zip(left, executor.states(left), strict=True)
    found = {run.run_id: state.status if state.active else "missing" for run, state in states}
    return {run.run_id: found.get(run.run_id, "completed") for run in runs}


def _alike(runs: Sequence[RunDir], executor: Executor) -> Iterator[list[RunDir]]:
    """Runs whose jobs ask for the same and see the same variables, some hundred at most together."""
    groups: dict[tuple[tuple[str, ...], ...], list[RunDir]] = {}
    for run in runs:
        key = (array_request(_script(run, executor)), run.read_plan().passed_variables)
        groups.setdefault(key, []).append(run)
    for group in groups.values():
        yield from (group[first : first + MOST_ELEMENTS] for first in range(0, len(group), MOST_ELEMENTS))


def _start(
    sweep: Sweep,
    group: Sequence[RunDir],
    executor: Executor,
    at_once: int | None,
    after: str | None,
    each: int,
) -> str:
    name = executor.array_template if each == 1 else executor.pack_template
    assert name is not None
    elements = None if at_once is None else max(1, at_once // each)
    scripts = {str(run.path): _script(run, executor) for run in group}
    path = sweep.next_array()
    write_text(path, render_array(sweep.name, str(path), scripts, templates(), name, elements, after, each))
    return executor.start_together(path, group, each)


def _script(run: RunDir, executor: Executor) -> str:
    return (run.path / executor.script).read_text(encoding="utf-8")
