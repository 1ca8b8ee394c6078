"""The curves of a run for a page: what was recorded of each step, drawn together where the steps are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.runs.columns import Columns

MOST_POINTS = 1000
"""Points of a curve; further steps are drawn together, by their mean, lowest and highest."""
DIGITS = 5
Value = float | None


@dataclass(frozen=True)
class Curve:
    """One figure over the steps; `low` and `high` are there where a point stands for several steps."""

    steps: list[int]
    values: list[Value]
    low: list[Value] | None = None
    high: list[Value] | None = None

    def tree(self) -> dict[str, Any]:
        """As plain values, the bounds left out where there are none."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Curves:
    """What is known of a run step by step."""

    train: dict[str, Curve]
    """By key, such as `train/loss`."""
    evaluations: dict[str, list[dict[str, Any]]]
    """By split: step, epoch and metrics, without prefix, of each evaluation."""

    def evaluated(self, metric: str, split: str = "validation") -> Curve | None:
        """The metric of each evaluation, or None where it was never computed."""
        rows = [row for row in self.evaluations.get(split, ()) if row.get(metric) is not None]
        return Curve([row["step"] for row in rows], [row[metric] for row in rows]) if rows else None


def curves_of(columns: Columns, points: int = MOST_POINTS) -> Curves:
    """The curves of what is recorded, each of at most so many points."""
    evaluations: dict[str, list[dict[str, Any]]] = {}
    for row in columns.evaluations:
        found = {"epoch": row.epoch, **row.metrics()}
        rounded = {key: _rounded(value) for key, value in found.items()}
        evaluations.setdefault(row.split or "", []).append({"step": row.step, **rounded})
    train = {name: drawn(steps, values, points) for name, steps, values in columns.curves()}
    return Curves(train, evaluations)


def drawn(steps: Sequence[int], values: Sequence[Value], points: int = MOST_POINTS) -> Curve:
    """The curve of all steps, or where they are many of as many stretches of them as a page can show; NaN is no value."""
    if len(steps) <= points:
        return Curve(list(steps), [_rounded(value) for value in values])
    size = math.ceil(len(steps) / points)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    known = [[value for value in part if value is not None and value == value] for part in parts]
    return Curve(
        [steps[min(start + size // 2, len(steps) - 1)] for start in range(0, len(steps), size)],
        [_rounded(sum(part) / len(part)) if part else None for part in known],
        [_rounded(min(part, default=None)) for part in known],
        [_rounded(max(part, default=None)) for part in known],
    )


def _rounded(value: Value) -> Value:
    return None if value is None or math.isnan(value) else float(f"{value:.{DIGITS}g}")
