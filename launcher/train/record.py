"""What rank 0 writes down about a run: metrics.jsonl first, then Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.train.metrics_log import MetricsLog, Number, Split


class Record:
    """The metrics of a run; does nothing on ranks other than 0."""

    def __init__(self, log: MetricsLog | None, tracker: Any | None) -> None:
        self._log = log
        self._tracker = tracker

    def train(self, step: int, values: Mapping[str, Number]) -> None:
        """The line of an optimizer step."""
        if self._log is not None:
            self._log.train(step, values)

    def eval(self, step: int, split: Split, values: Mapping[str, Number]) -> None:
        """The line of an evaluation."""
        if self._log is not None:
            self._log.eval(step, split, values)

    def best(self, metric: str, value: float, step: int) -> None:
        """The best value so far, for the tracker's summary."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Close everything; bounded in time."""
        if self._log is not None:
            self._log.close()


def open_record(run: Any, plan: Any, ranks: Any, events: Any, stop: Any, config: Any) -> Record:
    if not ranks.is_main:
        return Record(None, None)
    return Record(MetricsLog(run.metrics), None)
