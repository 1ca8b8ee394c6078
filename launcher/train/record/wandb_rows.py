"""Lines of metrics.jsonl as W&B wants them: one row a step, and the best evaluation for the summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.errors import DamagedFile
from launcher.runs.metrics import MetricsRow, row_of
from launcher.runs.records import GrowingFile, is_number, parse_object, read_tail
from launcher.train.record.metrics_log import Number

OLD_S = 120.0
"""A figure of a node that is older says nothing of the row that is sent now."""
LAST_BYTES = 4096
DURING_TRAINING = (None, "validation", "probes")
"""Splits of lines that come again and again; None stands for a step."""


class Steps:
    """Joins the lines of a step into one W&B row, so that W&B's steps are ours and only grow.

    The newest step is held until the next one begins, since its evaluation may still come.
    """

    def __init__(self, sent: int) -> None:
        self.sent = sent
        """The last step that W&B has; -1 for none."""
        self._of_earlier_attempts = -1
        self._step = -1
        self._held: dict[str, Number] = {}
        self.late: dict[str, Number] = {}
        """Evaluations of a step that W&B has already; they ride on the next row."""

    def add(self, row: MetricsRow, live: bool) -> tuple[int, dict[str, Number]] | None:
        """Take a line, `live` if this attempt recorded it; the row that it completes, if any."""
        step, values, is_evaluation = row.step, values_of(row), row.split is not None
        if not live:
            self._of_earlier_attempts = max(step, self._of_earlier_attempts)
        if step <= self.sent:
            if live:
                self._add_to_sent(step, is_evaluation, values)
            return None
        if step < self._step:
            if is_evaluation:
                self._held.update(_without_epoch(values))
            return None
        if step == self._step:
            self._held.update(values)
            return None
        complete = self.take()
        self._step, self._held, self.late = step, {**self.late, **values}, {}
        return complete

    def _add_to_sent(self, step: int, is_evaluation: bool, values: dict[str, Number]) -> None:
        if not is_evaluation:
            self.late = {}  # they rode on this row, which an earlier client of this attempt sent
        elif self._step >= 0:
            self._held.update(_without_epoch(values))
        elif step <= self._of_earlier_attempts:  # or else it was a part of the row when that was sent
            self.late.update(_without_epoch(values))

    def take(self) -> tuple[int, dict[str, Number]] | None:
        """The row held back, no longer held."""
        if self._step < 0:
            return None
        complete = self._step, self._held
        self.sent, self._step, self._held = self._step, -1, {}
        return complete


class BestSoFar:
    """The best evaluation on the validation split, for the run's summary."""

    def __init__(self, monitor: str | None, mode: str) -> None:
        self._monitor = monitor
        self._sign = 1 if mode == "max" else -1
        self._value: float | None = None
        self.summary: dict[str, Number] = {}

    def add(self, row: MetricsRow) -> bool:
        """Take a line; whether it is the best so far (the first of equals stays)."""
        value = row.figures.get(self._monitor or "")
        if row.split != "validation" or value is None:
            return False
        if self._value is not None and self._sign * value <= self._sign * self._value:
            return False
        self._value = value
        self.summary = {
            name.replace("eval/", "best/", 1): number
            for name, number in values_of(row).items()
            if name.startswith("eval/")
        }
        self.summary["best/step"] = row.step
        return True


class EvaluatedOnce:
    """The test and files of eval.extra, for the run's summary: their step may have been sent before they were evaluated."""

    def __init__(self) -> None:
        self.summary: dict[str, Number] = {}

    def add(self, row: MetricsRow) -> None:
        """Take a line."""
        if row.split not in DURING_TRAINING:
            self.summary |= _without_epoch(values_of(row))


class StepDurations:
    """How long steps took: what most of them, and the slow ones, need."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def add(self, row: MetricsRow) -> None:
        """Take a line."""
        seconds = row.figures.get("perf/step_s")
        if seconds is not None:
            self._seconds.append(seconds)

    def summary(self) -> dict[str, Number]:
        """Seconds that half, nine tenths and all but one in a hundred of the steps stay below; nothing where none is known."""
        ordered = sorted(self._seconds)
        if not ordered:
            return {}
        return {
            f"perf/step_s_p{percent}": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
            for percent in (50, 90, 99)
        }


class NodeUse:
    """What the nodes are busy with, as the newest lines of their files say; each line once, and no old ones."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._seen: dict[Path, float] = {}

    def newest(self) -> dict[str, Number]:
        """`node/0/cpu_percent` and the like, of the nodes that have said something since."""
        figures: dict[str, Number] = {}
        for path in sorted(self._logs.glob("node_*.jsonl")):
            tree = self._last(path)
            at = tree.pop("at", None)
            if not is_number(at) or at <= self._seen.get(path, time.time() - OLD_S):
                continue
            self._seen[path] = at
            node = path.stem.removeprefix("node_")
            figures |= {f"node/{node}/{name}": value for name, value in tree.items() if is_number(value)}
        return figures

    def _last(self, path: Path) -> dict[str, Any]:
        lines = read_tail(path, LAST_BYTES).splitlines()
        try:
            return parse_object(lines[-1], str(path)) if lines else {}
        except DamagedFile:
            return {}


def new_rows(metrics: GrowingFile) -> Iterator[tuple[int, MetricsRow]]:
    """(its place in the file, a row) of the lines that have come since."""
    rows = ((place, row_of(line)) for place, line in metrics.new_lines())
    return ((place, row) for place, row in rows if row is not None)


def values_of(row: MetricsRow) -> dict[str, Number]:
    """The numbers of a line under W&B's names: those of the test split are `test/...`, of eval.extra `NAME/...`."""
    prefix = "eval/" if row.split in DURING_TRAINING else f"{row.split}/"
    named = {name.replace("eval/", prefix, 1): value for name, value in row.figures.items()}
    return {name: value for name, value in {"epoch": row.epoch, **named}.items() if value is not None}


def _without_epoch(values: dict[str, Number]) -> dict[str, Number]:
    return {name: value for name, value in values.items() if name != "epoch"}
