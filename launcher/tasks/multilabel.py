"""Any number of labels for a text: names in one cell, or a 0/1 column for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.errors import Problem
from launcher.tasks.shared import labels
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Doubt, Seen
from launcher.tasks.shared.rows import Row, Value, shown

SHOWN = 3
"""Labels that a message shows."""


class MultiLabel(TaskSpec):
    metric = "micro_f1"
    metrics = ("accuracy", "exact_match", "macro_f1", "micro_f1")
    fair_metrics = ("macro_f1",)
    losses = ("cross_entropy", "focal", "custom")
    windows = True
    explained = True
    several = True
    flags = True

    @property
    def least_classes(self) -> int:
        return 1

    def label_mistake(self, row: Row, value: Value) -> str | None:
        if not isinstance(self.recipe.data.label, str):
            return labels.flag_mistake(value)
        wrong = labels.class_names(value, self.recipe.data.label_delimiter) is None
        return f"{shown(value)} is not a list of labels" if wrong else None

    def label(self, row: Row) -> Label:
        data = self.recipe.data
        if isinstance(data.label, str):
            return labels.class_names(row.values.get(data.label), data.label_delimiter)
        return tuple(bool(labels.flag(row.values.get(column))) for column in data.label)

    def class_names(self, row: Row) -> Sequence[str]:
        data = self.recipe.data
        if isinstance(data.label, str):
            return labels.class_names(row.values.get(data.label), data.label_delimiter) or ()
        return [column for column in data.label if labels.flag(row.values.get(column))]

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        return self.joint_problem(tuple(seen))

    def joint_problem(self, names: Sequence[str]) -> Problem | None:
        data = self.recipe.data
        likely = labels.likely_delimiter(names) if data.labels is None else None
        if likely is None or not labels.are_several(names, likely):
            return None
        example = next(name for name in names if likely in name)
        message = f"takes {example!r} for one label, though its parts are labels too"
        remedy = (
            f'data.label_delimiter="{likely}" takes them apart; data.labels=[...] says that they are names'
        )
        return Problem(message, None, "data.label_delimiter", data.label_delimiter, remedy)

    def class_doubts(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Iterator[Doubt]:
        likely = labels.likely_delimiter(tuple(seen))
        if likely is None:
            yield from super().class_doubts(names, seen)
            return
        some = ", ".join([repr(name) for name in seen if likely in name][:SHOWN])
        text = f"{len(seen):,} labels consist of each other's parts ({some}), and each is taken for one label"
        yield Doubt(text, f'data.label_delimiter="{likely}" takes them apart')


SPEC = MultiLabel
