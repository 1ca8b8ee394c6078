"""What each key of a sweep does to the metric, all other keys taken together. Pure; a description, no test.

Over a full grid the means of a key's values differ by that key alone; over points that were drawn, other keys blur them.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_VALUES = 8
"""Of a key with more of them, numbers are ranked instead of being listed."""


@dataclass(frozen=True)
class Level:
    """One value of a key."""

    value: Any
    mean: float
    """Of the metric, over all trials that have this value."""
    trials: int

    @property
    def written(self) -> str:
        """The value as a recipe has it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True)
class Effect:
    """What a key does."""

    key: str
    levels: tuple[Level, ...]
    """Its values, best first; none where they are too many."""
    span: float
    """From the worst to the best mean of a value; for a ranked key, of its lower and its upper half."""
    rank_correlation: float | None
    """Spearman's, of the key's value and the metric, from -1 to 1; None where a value is no number."""


def effects(trials: Sequence[tuple[Mapping[str, Any], float]], *, higher_is_better: bool) -> list[Effect]:
    """The keys by how much they matter, most first; each trial is its values and its metric."""
    keys = list(trials[0][0]) if trials else []
    found = [
        _effect(key, [(values[key], metric) for values, metric in trials], higher_is_better) for key in keys
    ]
    return sorted((each for each in found if each is not None), key=lambda each: -each.span)


def _effect(key: str, points: Sequence[tuple[Any, float]], higher_is_better: bool) -> Effect | None:
    by_value: dict[str, list[tuple[Any, float]]] = defaultdict(list)
    for value, metric in points:
        by_value[json.dumps(value)].append((value, metric))
    if len(by_value) < 2:
        return None
    numbers = [(float(value), metric) for value, metric in points if _is_number(value)]
    correlation = _spearman(numbers) if len(numbers) == len(points) else None
    if len(by_value) > MOST_VALUES and correlation is not None:
        ordered = [metric for _, metric in sorted(numbers)]
        half = len(ordered) // 2
        return Effect(
            key, (), abs(statistics.fmean(ordered[half:]) - statistics.fmean(ordered[:half])), correlation
        )
    levels = [
        Level(group[0][0], statistics.fmean([metric for _, metric in group]), len(group))
        for group in by_value.values()
    ]
    levels.sort(key=lambda level: level.mean, reverse=higher_is_better)
    return Effect(key, tuple(levels), abs(levels[0].mean - levels[-1].mean), correlation)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spearman(points: Sequence[tuple[float, float]]) -> float | None:
    """None where all values, or all metrics, are equal."""
    ranks = [_ranks([point[axis] for point in points]) for axis in (0, 1)]
    if any(len(set(each)) < 2 for each in ranks):
        return None
    return statistics.correlation(*ranks)


def _ranks(values: Sequence[float]) -> list[float]:
    """Places from 1, equal values sharing the mean of theirs."""
    ordered = sorted(values)
    first = {value: ordered.index(value) for value in set(values)}
    return [1 + first[value] + (values.count(value) - 1) / 2 for value in values]
