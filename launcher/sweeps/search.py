"""A search: points of a space instead of all of a grid.

random and halving draw all points before anything starts, and their trials are like those of a grid; halving then stops the
worse of them. tpe draws each point by what the ones before it have reached, so whoever works the sweep off asks for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from launcher import tasks
from launcher.errors import UserError
from launcher.planning.plan import Plan
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.sweeps.grid import MOST_TRIALS
from launcher.sweeps.halving import Halving
from launcher.sweeps.optuna_draws import JOURNAL, Point, Study, draw
from launcher.sweeps.space import Domain, described, ends, split_space, words_of
from launcher.sweeps.sweep import (
    Method,
    Planned,
    PlannedTrial,
    Search,
    Setting,
    plan_points,
    write,
)

EXAMPLES = 8
"""Points that are looked at to see what any trial may take."""
Refused = Callable[[str, UserError], None]
"""Told of a point that can't be planned: its words, and why."""


@dataclass(frozen=True)
class Searched:
    """A search that was planned: what is known of it now, and how to go on."""

    planned: Planned
    """Its trials: all of them, or those whose points are drawn by now."""
    example: PlannedTrial
    """A trial as they all are, where none may be known yet."""
    fixed: tuple[str, ...]
    space: Mapping[str, Domain]
    setting: Setting

    @property
    def search(self) -> Search:
        assert self.planned.search is not None
        return self.planned.search

    @property
    def metric(self) -> str:
        """What trials are judged by."""
        return tasks.of(self._recipe).chosen_metric

    @property
    def higher_is_better(self) -> bool:
        return tasks.of(self._recipe).higher_is_better(self.metric)

    @property
    def _recipe(self) -> Recipe:
        return self.example.prepared.plan.recipe

    def examples(self) -> list[PlannedTrial]:
        """Trials that the search may come to: those of both ends of all keys, and of some points between."""
        drawn = [*ends(self.space), *draw(self.space, EXAMPLES)]
        found = [self.example]
        for point in drawn:
            with contextlib.suppress(UserError):  # a point that can't be planned is no trial
                found += self.plan([point]).trials
        return found

    def plan(self, points: Sequence[Point]) -> Planned:
        """The trials of these points. Raises UserError."""
        words = [words_of(self.space, point) for point in points]
        return plan_points(self.fixed, words, list(self.space), self.setting, self.search)


def plan_search(words: Sequence[str], method: Method, trials: int, setting: Setting) -> Searched:
    """Plan what is known of a search. Raises UserError with every mistake; creates nothing."""
    if not 1 <= trials <= MOST_TRIALS:
        raise UserError(f"must be from 1 to {MOST_TRIALS:,}", field="--trials", value=trials)
    fixed, space = split_space(words)
    loss = None if setting.loss is None else str(setting.loss)
    search = Search(method, trials, described(space), tuple(words), str(setting.cwd), loss)
    drawn = draw(space, 1 if search.needs_results else trials)
    planned = plan_points(fixed, [words_of(space, point) for point in drawn], list(space), setting, search)
    found = Searched(planned, planned.trials[0], tuple(fixed), space, setting)
    if method == "halving":
        _refuse_without_rungs(found.example.prepared.plan)
    if not search.needs_results:
        return found
    there = (planned.directory / JOURNAL).exists()
    asked = list(_study(found).asked().values()) if there else []
    own = found.plan(asked) if asked else Planned(planned.name, planned.directory, (), search)
    return Searched(own, found.example, found.fixed, space, setting)


def _refuse_without_rungs(plan: Plan) -> None:
    """Raises UserError where trials would be evaluated too seldom for any to be stopped."""
    every, total = plan.recipe.eval.every, plan.steps.total
    between = plan.steps.per_epoch if every == "epoch" else every
    if every is None or (total is not None and between is not None and between >= total):
        remedy = "evaluate more often, as in eval.every=50, or search with --search random"
        raise UserError(
            "stops trials at evaluations, and there is one at the end alone", field="halving", remedy=remedy
        )


def _study(searched: Searched) -> Study:
    return Study(searched.planned.directory, searched.space, higher_is_better=searched.higher_is_better)


def halving_of(searched: Searched) -> Halving:
    """The decisions about the trials of a search by halving."""
    return Halving(searched.planned.directory, searched.metric, higher_is_better=searched.higher_is_better)


class Guide:
    """Asks for the next trial of a search that learns, and tells what the others have reached."""

    def __init__(
        self, searched: Searched, at_once: int | None, refused: Refused, each: int | None = None
    ) -> None:
        """`at_once` and `each` are what the sweep's own command said of its trials."""
        self._searched = searched
        self._at_once, self._each = at_once, each
        self._refused = refused
        self._study = _study(searched)
        self._runs_dir = searched.planned.directory.parent
        self._runs: dict[tuple[str, ...], RunDir] = {}

    def next(self) -> RunDir | None:
        """The run of a new point, its directory made; None where there are as many as were asked for."""
        self.tell()
        while self._study.count() < self._searched.search.trials:
            point = self._study.ask()
            try:
                run, is_new = self._make(point)
            except UserError as error:
                self._refused(" ".join(words_of(self._searched.space, point)), error)
                self._study.tell(max(self._study.open()), None)
                continue
            if is_new:
                return run
            self.tell()  # the same point again: what it has reached is known, or will be
        return None

    def tell(self) -> None:
        """Tell the search what has been completed since."""
        for number, point in self._study.open().items():
            value = best_value(self._run_of(point))
            if value is not None:
                self._study.tell(number, value)

    def _make(self, point: Point) -> tuple[RunDir, bool]:
        """The run of a point, and whether it is new."""
        planned = self._searched.plan([point])
        run = self._run_of(point, planned)
        is_new = not run.path.exists()
        write(planned, self._at_once, self._each)
        return run, is_new

    def _run_of(self, point: Point, planned: Planned | None = None) -> RunDir:
        """A point's run, which may not be there."""
        words = tuple(words_of(self._searched.space, point))
        if words not in self._runs:
            (trial,) = (planned or self._searched.plan([point])).trials
            self._runs[words] = RunDir(self._runs_dir / trial.run_id)
        return self._runs[words]


def best_value(run: RunDir) -> float | None:
    """The metric of a completed run's best model; None as long as it isn't completed."""
    result = run.read_result() if run.path.exists() else None
    if result is None or result.status != "completed" or result.best is None:
        return None
    return result.best.value
