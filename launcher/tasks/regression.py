"""A number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Finding, Kind
from launcher.tasks.shared.rows import Row, Value, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample

MANY = 20
"""More different whole numbers than these are hardly classes."""
REACHED = 20
"""Size of numbers that a head learns to predict in some hundred steps; thousands are out of its reach."""
DIVIDE = "divide the column until its numbers are a few units large (5,000 by 1,000, 90 by 20), and multiply what is predicted"
AFAR = Kind(
    "numbers lie so far from 0, where a head begins, that they are hardly learnt",
    DIVIDE,
    in_rows=False,
    before_launch=DIVIDE,
)
IN_ORDER = ", task=ordinal data.labels=[LOWEST,...,HIGHEST] those that have an order"
MEASURED = frozenset({"score", "similarity", "value", "price", "gold", "mean", "rating"})
"""Words in the names of columns that hold something measured."""


class Regression(TaskSpec):
    metric = "pearson"
    called = ("regression", "stsb", "num_labels=1", "sts")
    metrics = ("pearson", "spearman", "mse", "mae")
    lower_is_better = frozenset({"mse", "mae"})
    losses = ("mse", "mae", "huber", "custom")
    deep_head = True
    windows = True
    explained = True
    classes = False
    outputs = ("prediction",)

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        label = sample.label(_is_measured)
        text = sample.said_texts(label.name) if label else None
        if label is None or text is None:
            return None
        fractions = any(not number.is_integer() for number in label.numbers)
        named = max(label.named_as_label, 0.3 if _is_named(label) else 0)
        what = "with fractions" if fractions else f"of which {len(label.names)} are different"
        why = f"{shown(label.name)} holds numbers {what}: something measured, and no classes."
        said = Said(label.name, f"Numbers from {min(label.numbers):g} to {max(label.numbers):g}.")
        return Guess((0.6 if fractions else 0.4) + named, why, {"data.text": text, "data.label": said})

    @property
    def learns_differences(self) -> bool:
        return True

    def label_mistake(self, row: Row, value: Value) -> str | None:
        return labels.score_mistake(value)

    def cell_remedy(self, key: str) -> str:
        if key == "data.label":
            return f"{labels.SCORE_REMEDY}; task=classification learns classes by name{IN_ORDER}"
        return super().cell_remedy(key)

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        number = self.label(row)
        if isinstance(number, float) and abs(number) > REACHED:
            yield Finding("afar", f"{number:g}")

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        return {"afar": AFAR}

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return labels.score(row.values.get(column))

    def snippet(self, model: str) -> str:
        options = ', function_to_apply="none"'
        return snippets.piped("text-classification", model, self.sample_texts(), options)


def _is_named(column: Column) -> bool:
    return bool(column.named_as_label or column.words_of_name & MEASURED)


def _is_measured(column: Column) -> bool:
    different = set(column.numbers)
    whole = all(number.is_integer() for number in different)
    return (
        len(column.numbers) == len(column.filled if _is_named(column) else column.values)
        and not column.is_id
        and not column.is_about_labels
        and len(different) > (MANY if whole else 2)
    )


SPEC = Regression
