"""Runs side by side: what each reached, what it cost to train and what it costs to use.

Runs that differ in nothing but the seed or the fold, their data included, stand in one row, with the mean and the spread of
their figures.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from launcher import tasks
from launcher.errors import Problem, UserError, choices
from launcher.figures import quantity
from launcher.report.repetitions import training_of
from launcher.report.significance import Difference, difference
from launcher.runs.directory import RunDir
from launcher.runs.metrics import evaluations_of
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.results import Measured

MOST_NAMED = 4
"""Runs that a sentence names."""


REPEATED = ("seed", "data.fold")
"""Keys that make a repetition of a training, not another one."""
DECIDE_ROWS = ("source", "train", "validation", "split", "folds", "group")
"""Keys of data.* that say which rows are trained and validated on, beside the fold."""


@dataclass(frozen=True)
class Figures:
    """What one run is compared by; None where it is not known."""

    run_id: str
    model: str
    task: str
    data: str
    """What the metric was computed on, and the data trained on."""
    training: str
    """Equal for repetitions of one training; see `training_of`."""
    seed: int
    fold: int | None
    """The part of the data that it was validated on, in cross-validation."""
    unfinished: str
    """How it stands where it was not trained to its end, else empty."""
    metric: str
    best: float
    """The metric of the best model on the validation data."""
    test: float | None
    """The same metric on the test data."""
    train_s: float | None
    """Seconds from start to end, all attempts."""
    latency_ms: float | None
    """Milliseconds for one text, measured on this machine."""
    memory_bytes: int | None
    """Peak of the fullest rank while training."""
    size_bytes: int
    """The weights on disk."""
    parameters: int | None

    @property
    def repetition(self) -> tuple[int, int]:
        """Which of the repetitions of its training it is: seed and fold."""
        return self.seed, self.fold or 0


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None of a single value) of the values that are known."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Comparison:
    """One row: the repetitions of one training."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    """Of each run, in cross-validation; else empty."""
    model: str
    best: Spread
    values: tuple[float, ...]
    """The metric of each run, in their order."""
    test: Spread | None
    train_s: Spread | None
    latency_ms: Spread | None
    memory_bytes: Spread | None
    size_bytes: Spread
    parameters: int | None
    against_best: Difference | None = None
    """To the first row, over the seeds and folds that both have; None for the first, and where fewer than two are common."""

    @property
    def name(self) -> str:
        """Its first run, and how many more there are of what."""
        more = len(self.runs) - 1
        return self.runs[0] + (f" and {quantity(more, f'more {self.repeated}')}" if more else "")

    @property
    def repeated(self) -> str:
        """What its runs differ in: seed, fold, or the run, where it is both."""
        if len(set(self.folds)) < 2:
            return "seed"
        return "fold" if len(set(self.seeds)) == 1 else "run"

    @property
    def by_repetition(self) -> dict[tuple[int, int], float]:
        """The metric by seed and fold."""
        folds = self.folds or (0,) * len(self.runs)
        return dict(zip(zip(self.seeds, folds, strict=True), self.values, strict=True))


def figures(run: RunDir, metric: str | None, machine: str) -> Figures:
    """What is known about a run with a model. `metric` is another than its own; `machine` names where latency counts.

    Raises UserError where it has no result, or not this metric.
    """
    result, recipe = run.read_result(), planned_recipe(run).tree()
    best = None if result is None else result.best
    if result is None or best is None:
        if result is not None and result.status == "completed":
            raise UserError("was never evaluated", where=run.run_id, remedy="give data.validation")
        remedy = f"launch status {run.run_id} says how far it is"
        raise UserError("has no evaluated model yet", where=run.run_id, remedy=remedy)
    evaluated = _evaluation(run, best.step) | {best.metric: best.value}
    name = metric or best.metric
    value = evaluated.get(name)
    if value is None:
        raise UserError(_no_value(run, name, evaluated))
    latency = run.read_latency()
    measured = result.measured or Measured()
    return Figures(
        run_id=run.run_id,
        model=recipe["model"]["name"] or f"{recipe['model']['scratch']['family']} from scratch",
        task=recipe["task"],
        data=json.dumps({key: recipe["data"].get(key) for key in DECIDE_ROWS}),
        training=training_of(run, {**recipe, "data": {**recipe["data"], "fold": None}}),
        seed=recipe["seed"],
        fold=None if recipe["data"].get("folds") is None else recipe["data"]["fold"],
        unfinished="" if result.status == "completed" else f"{result.status} at step {result.steps or 0:,}",
        metric=name,
        best=value,
        test=(result.test or {}).get(name),
        train_s=result.wall_s,
        latency_ms=latency.ms if latency is not None and latency.machine == machine else None,
        memory_bytes=measured.total,
        size_bytes=sum(path.stat().st_size for path in run.model.glob("*.safetensors")),
        parameters=measured.parameters,
    )


def _no_value(run: RunDir, name: str, evaluated: Mapping[str, float | None]) -> Problem:
    known = [key for key, value in evaluated.items() if value is not None]
    if name not in evaluated:
        return Problem("was not computed", run.run_id, "--metric", name, choices(name, known))
    text = f"{name} is no number, as where all predictions, or all validation labels, are one"
    return Problem(text, run.run_id, remedy=f"leave the run out, or name another metric: {_others(known)}")


def _others(known: Sequence[str]) -> str:
    return " or ".join(f"--metric {name}" for name in known)


def has_value(run: RunDir, metric: str | None) -> bool:
    """Whether a run has an evaluated model whose metric is a number."""
    result = run.read_result()
    if result is None or result.best is None:
        return False
    name = metric or result.best.metric
    evaluated = _evaluation(run, result.best.step) | {result.best.metric: result.best.value}
    return name not in evaluated or evaluated[name] is not None


def compare(runs: Sequence[Figures]) -> list[Comparison]:
    """Rows, best first. Raises UserError where the runs were chosen by different metrics."""
    _same_metric(runs)
    groups: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    times: Counter[tuple[str, tuple[int, int]]] = Counter()
    for run in runs:  # the same seed again says nothing about the spread over seeds
        groups[run.training, times[run.training, run.repetition]].append(run)
        times[run.training, run.repetition] += 1
    rows = [_row(sorted(group, key=lambda run: run.repetition)) for group in groups.values()]
    first, *others = sorted(
        rows,
        key=lambda row: row.best.mean,
        reverse=tasks.named(runs[0].task).higher_is_better(runs[0].metric),
    )
    best = first.by_repetition
    return [first, *(replace(row, against_best=difference(row.by_repetition, best)) for row in others)]


def doubts(runs: Sequence[Figures]) -> Iterator[str]:
    """Why the rows may not be comparable although the metric is the same."""
    if len({run.task for run in runs}) > 1:
        yield "the runs are of different tasks: " + ", ".join(sorted({run.task for run in runs}))
    elif len({run.data for run in runs}) > 1:
        yield "the runs were trained or evaluated on different data"
    elif _have_other_folds(runs):
        yield "the runs were validated on different folds"
    if early := [f"{run.run_id} ({run.unfinished})" for run in runs if run.unfinished]:
        more = f" and {len(early) - MOST_NAMED:,} more" if len(early) > MOST_NAMED else ""
        yield f"not trained to the end: {', '.join(early[:MOST_NAMED])}{more}"


def _have_other_folds(runs: Sequence[Figures]) -> bool:
    """Whether one training was validated on other folds than another."""
    folds: dict[str, set[int | None]] = defaultdict(set)
    for run in runs:
        folds[run.training].add(run.fold)
    first, *others = folds.values()
    return any(each != first for each in others)


def _evaluation(run: RunDir, step: int) -> dict[str, float | None]:
    """Metrics on the validation data after `step`."""
    for row in evaluations_of(run):
        if row.split == "validation" and row.step == step:
            return row.metrics()
    return {}


def _same_metric(runs: Sequence[Figures]) -> None:
    by_metric: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        by_metric[run.metric].append(run.run_id)
    if len(by_metric) > 1:
        said = "; ".join(f"{metric}: {', '.join(names)}" for metric, names in by_metric.items())
        raise UserError(
            f"these runs chose their best model by different metrics ({said})",
            remedy="compare runs of one metric, or name one that all of them have: --metric NAME",
        )


def _row(group: Sequence[Figures]) -> Comparison:
    best = Spread.of([run.best for run in group])
    size = Spread.of([run.size_bytes for run in group])
    assert best is not None
    assert size is not None
    return Comparison(
        runs=tuple(run.run_id for run in group),
        seeds=tuple(run.seed for run in group),
        folds=tuple(run.fold for run in group if run.fold is not None),
        model=group[0].model,
        best=best,
        values=tuple(run.best for run in group),
        test=Spread.of([run.test for run in group]),
        train_s=Spread.of([run.train_s for run in group]),
        latency_ms=Spread.of([run.latency_ms for run in group]),
        memory_bytes=Spread.of([run.memory_bytes for run in group]),
        size_bytes=size,
        parameters=group[0].parameters,
    )
