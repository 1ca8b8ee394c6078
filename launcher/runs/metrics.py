"""Rows of metrics.jsonl: what was recorded of each step and of each evaluation. Standard library alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.runs.records import LARGEST, read_json_lines

Number = float | None
MOST_STEPS = 10**12


@dataclass(frozen=True)
class MetricsRow:
    """One line."""

    step: int
    split: str | None
    """What was evaluated; None for a step of the training."""
    epoch: Number
    figures: Mapping[str, Number]
    """By full name, such as `train/loss` or `eval/accuracy`; None where it was no number."""

    def metrics(self) -> dict[str, Number]:
        """What an evaluation found, without `eval/` before the names."""
        return {
            key.removeprefix("eval/"): value for key, value in self.figures.items() if key.startswith("eval/")
        }


def read_rows(path: Path) -> Iterator[MetricsRow]:
    """Every row of a file, none where there is no such file; what has another shape is left out."""
    for tree in read_json_lines(path):
        step, split = tree.get("step"), tree.get("split")
        if type(step) is not int or not 0 <= step < MOST_STEPS or not isinstance(split, str | None):
            continue
        figures = {key: value for key, value in tree.items() if value is None or _is_number(value)}
        yield MetricsRow(
            step, split, figures.get("epoch"), {key: value for key, value in figures.items() if "/" in key}
        )


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < LARGEST and math.isfinite(value)
