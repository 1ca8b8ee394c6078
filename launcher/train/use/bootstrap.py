"""Confidence intervals of metrics: the percentile bootstrap (Efron, 1979) over the examples of a split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launcher.runs.examination import Bootstrap, Interval
from launcher.train.tasks import Task
from launcher.train.tasks.base import Scores
from launcher.train.use.evaluation import Progress, no_progress

DRAWS = 1000
LEVEL = 0.95
ROUNDS_BETWEEN_REPORTS = 50


def bootstrap(
    task: Task, scores: Scores, truth: Any, *, seed: int, draws: int = DRAWS, progress: Progress = no_progress
) -> Bootstrap:
    """Intervals of every metric that the task has; the same seed gives the same ones."""
    generator = np.random.default_rng(seed)
    resampling = task.resampling(scores, truth)
    found: list[Mapping[str, float]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a draw may hold a single class, or the same example all over
        for index in range(draws):
            if index % ROUNDS_BETWEEN_REPORTS == 0:
                progress(index, draws)
            chosen = generator.integers(0, resampling.units, resampling.units)
            found.append(resampling.metrics(chosen))
    progress(draws, draws)
    intervals = {name: _interval([each.get(name, np.nan) for each in found]) for name in found[0]}
    return Bootstrap(LEVEL, draws, seed, resampling.units, resampling.of, intervals)


def _interval(values: Sequence[float]) -> Interval | None:
    known = np.array(values, np.float64)
    known = known[np.isfinite(known)]
    if len(known) < len(values) / 2:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
