"""A number for a text or a pair of texts."""

from __future__ import annotations

from launcher.tasks.shared import labels
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.rows import Row, Value


class Regression(TaskSpec):
    metric = "pearson"
    metrics = ("pearson", "spearman", "mse", "mae")
    lower_is_better = frozenset({"mse", "mae"})
    losses = ("mse", "mae", "huber", "custom")
    windows = True
    explained = True
    classes = False
    outputs = ("prediction",)

    def label_mistake(self, row: Row, value: Value) -> str | None:
        return labels.score_mistake(value)

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return labels.score(row.values.get(column))


SPEC = Regression
