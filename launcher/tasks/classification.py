"""One of several labels for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.tasks.shared.base import TaskSpec


class Classification(TaskSpec):
    metric = "accuracy"
    metrics = ("accuracy", "macro_f1", "micro_f1", "mcc", "f1")
    fair_metrics = ("macro_f1", "mcc")
    losses = ("cross_entropy", "focal", "custom")
    windows = True
    explained = True

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """`f1` is that of the second of two classes."""
        every = super().metrics_of(names)
        return every if names is None or len(names) == 2 else tuple(name for name in every if name != "f1")


SPEC = Classification
