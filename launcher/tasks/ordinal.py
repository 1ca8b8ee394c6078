"""One of several labels that have an order, such as stars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from launcher.errors import Problem
from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.findings import Seen
from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample

RATED = frozenset(
    re.findall("[a-z]+", "star stars rating ratings rated grade score level severity overall rank stage")
)
"""Words in the names of columns whose numbers have an order."""
USE = """
with torch.no_grad():
    score = model(**inputs).logits[0, 0]
above = torch.sigmoid(score + bias)  # how probable it is to be above the first label, above the second, ...
print(model.config.ordinal_labels[int((above > 0.5).sum())])
"""
WRITTEN = re.compile(r"([0-9]{1,2})( ?/ ?[0-9]{1,3}| (?:out )?of [0-9]{1,3}| ?(?:stars?|points?|★))")
"""A number of a scale as people write it."""
STARS = re.compile(r"([★⭐]\uFE0F?){1,10}[☆✩]*")
LEAST, MOST = 3, 11
"""How many numbers a scale has."""


class Ordinal(TaskSpec):
    metric = "mae"
    metrics = ("mae", "mse", "accuracy", "macro_f1", "qwk", "pearson", "spearman")
    fair_metrics = ("macro_f1", "qwk")
    lower_is_better = frozenset({"mse", "mae"})

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        label = sample.label(lambda column: _is_scale(column) and bool(column.words_of_name & RATED))
        label = label or sample.label(_is_scale)
        if label is None:
            return cls._guess_written(sample)
        text = sample.said_texts(label.name)
        if text is None:
            return None
        rated = bool(label.words_of_name & RATED)
        scale = f"{min(label.numbers):g} to {max(label.numbers):g}"
        why = f"{shown(label.name)} has the whole numbers {scale}, which have an order."
        said = Said(label.name, f"{label.told}.")
        return Guess(0.9 if rated else 0.5, why, {"data.text": text, "data.label": said})

    @classmethod
    def _guess_written(cls, sample: Sample) -> Guess | None:
        """The same where a scale is written as `4/5` or `4 stars`, which needs its labels said in their order."""
        label = sample.label(lambda column: bool(_written_scale(column)))
        text = sample.said_texts(label.name) if label else None
        if label is None or text is None:
            return None
        scale = _written_scale(label)
        why = f"{shown(label.name)} goes from {shown(scale[0])} to {shown(scale[-1])}, which have an order."
        keys = {"data.text": text, "data.label": Said(label.name, f"{label.told}.")}
        return Guess(0.9, why, keys | {"data.labels": Said(scale, "From the lowest to the highest.")})

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        name = next((name for name in names if labels.score(name) is None), None)
        if name is None or self.recipe.data.labels is not None:
            return None
        message = f"{name!r} is no number: these classes have no order"
        remedy = "data.labels=[LOWEST,...,HIGHEST] gives one"
        return Problem(message, None, "data.label", self.recipe.data.label, remedy)

    def snippet(self, model: str) -> str:
        loaded = snippets.loaded("AutoModelForSequenceClassification", model, head="bias")
        return loaded + snippets.encoded(self.sample_texts()) + USE


def _is_scale(column: Column) -> bool:
    """Whether the cells are whole numbers, few of them and each the next of another."""
    numbers = sorted(set(column.numbers))
    few = LEAST <= len(numbers) <= MOST and column.is_classes
    return few and numbers[-1] - numbers[0] == len(numbers) - 1 and numbers[0] >= 0


def _rated(name: str) -> tuple[int, str] | None:
    """The number of a written rating and the form that it is written in; None where it is none."""
    if STARS.fullmatch(name):
        return name.count("★") + name.count("⭐"), "★"
    match = WRITTEN.fullmatch(name)
    return (int(match[1]), match[2].rstrip("s")) if match else None


def _written_scale(column: Column) -> list[str]:
    """Cells such as `4/5` in the order of their numbers; empty where they are no scale, or not of one form."""
    found = [rated for name in column.names if (rated := _rated(name)) is not None]
    numbers = {number: name for name, (number, _) in zip(column.names, found, strict=False)}
    whole = len(numbers) == len(column.names) == len(found) and len({form for _, form in found}) == 1
    ordered = sorted(numbers)
    if not whole or not LEAST <= len(ordered) <= MOST or ordered[-1] - ordered[0] != len(ordered) - 1:
        return []
    return [numbers[number] for number in ordered] if column.is_classes else []


SPEC = Ordinal
