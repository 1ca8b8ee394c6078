"""One of several labels that have an order, such as stars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.errors import Problem
from launcher.tasks.shared import labels
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.findings import Seen


class Ordinal(TaskSpec):
    metric = "mae"
    metrics = ("mae", "mse", "accuracy", "macro_f1", "qwk", "pearson", "spearman")
    fair_metrics = ("macro_f1", "qwk")
    lower_is_better = frozenset({"mse", "mae"})

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        name = next((name for name in names if labels.score(name) is None), None)
        if name is None or self.recipe.data.labels is not None:
            return None
        message = f"{name!r} is no number: these classes have no order"
        remedy = "data.labels=[LOWEST,...,HIGHEST] gives one"
        return Problem(message, None, "data.label", self.recipe.data.label, remedy)


SPEC = Ordinal
