"""The curves of a run for a page: what was recorded of each step, drawn together where the steps are many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines

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


def read_curves(run: RunDir) -> Curves:
    """The curves of a run, none where nothing was recorded yet."""
    columns: dict[str, tuple[list[int], list[Value]]] = {}
    evaluations: dict[str, list[dict[str, Any]]] = {}
    for row in read_json_lines(run.metrics):
        step, split = row.get("step"), row.get("split")
        if not isinstance(step, int):
            continue
        if isinstance(split, str):
            evaluations.setdefault(split, []).append({"step": step, **dict(_metrics(row))})
            continue
        for key, value in _figures(row):
            steps, values = columns.setdefault(key, ([], []))
            steps.append(step)
            values.append(value)
    return Curves({key: drawn(*column) for key, column in columns.items()}, evaluations)


def drawn(steps: Sequence[int], values: Sequence[Value]) -> Curve:
    """The curve of all steps, or where they are many of as many stretches of them as a page can show."""
    if len(steps) <= MOST_POINTS:
        return Curve(list(steps), [_rounded(value) for value in values])
    size = math.ceil(len(steps) / MOST_POINTS)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    known = [[value for value in part if value is not None] for part in parts]
    return Curve(
        [steps[min(start + size // 2, len(steps) - 1)] for start in range(0, len(steps), size)],
        [_rounded(sum(part) / len(part)) if part else None for part in known],
        [_rounded(min(part, default=None)) for part in known],
        [_rounded(max(part, default=None)) for part in known],
    )


def _figures(row: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """The figures of a step, null where one was no number."""
    for key, value in row.items():
        if key.startswith(("train/", "perf/")) and (value is None or _is_number(value)):
            yield key, value


def _metrics(row: Mapping[str, Any]) -> Iterable[tuple[str, Value]]:
    for key, value in row.items():
        if (key.startswith("eval/") or key == "epoch") and (value is None or _is_number(value)):
            yield key.removeprefix("eval/"), _rounded(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rounded(value: Value) -> Value:
    return None if value is None else float(f"{value:.{DIGITS}g}")
