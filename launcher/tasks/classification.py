"""One of several labels for a text or a pair of texts."""

from __future__ import annotations

from launcher.tasks.shared.base import TaskSpec


class Classification(TaskSpec):
    metric = "accuracy"
    metrics = ("accuracy", "macro_f1", "micro_f1", "mcc", "f1")
    losses = ("cross_entropy", "focal", "custom")
    windows = True
    explained = True


SPEC = Classification
