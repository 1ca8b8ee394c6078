"""What the model is to predict: label cells read, named and numbered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.errors import RunFailed
from launcher.reading import examples
from launcher.reading import labels as label_rules
from launcher.reading.check import unknown_label, unordered
from launcher.reading.columns import CLASS_TASKS, label_columns
from launcher.reading.examples import Answer
from launcher.reading.rows import Row, Value
from launcher.recipe.recipe import Recipe
from launcher.train.reading.sources import Source, place

UNLABELLED = (-1.0, "-1")
"""What a hub data set holds in place of the labels of its test split, in every row."""
MISTAKES_SHOWN = 5
"""Rows named in one message; the others are counted."""

Label = str | float | int | tuple[str, ...] | tuple[bool, ...] | tuple[Answer, ...]
"""A class, a score, the number of a choice, the classes or tags of one example, its 0/1 columns, or its answers, each where
it really stands."""


def read_labels(recipe: Recipe, source: Source) -> list[Label]:
    """The labels of every row as the task sees them; RunFailed naming the first rows where they don't fit."""
    declared = source.class_names()
    found: list[Label] = []
    wrong: list[str] = []
    rows = unlabelled = 0
    for name, given in source.rows():
        rows += 1
        row = _named(recipe, given, declared) if declared else given
        mistakes = list(examples.mistakes(recipe, row))
        if mistakes:
            unlabelled += all(row.values.get(mistake.column) in (None, "") for mistake in mistakes)
            wrong.extend(f"{place(name, row)}: {mistake.column}: {mistake.message}" for mistake in mistakes)
        else:
            found.append(_label(recipe, row))
    if source.may_be_unlabelled() and all(label in UNLABELLED for label in found):
        unlabelled += len(found)
    if unlabelled == rows:
        text = f"no row of {name} has a label" if rows else "a data file holds no rows"
        remedy = (
            "a test split without labels can be left out (data.test_split=null); launch predict needs none"
        )
        raise RunFailed("data", text, remedy)
    if wrong:
        shown = "\n".join(wrong[:MISTAKES_SHOWN])
        more = f"\nand {len(wrong) - MISTAKES_SHOWN} more" if len(wrong) > MISTAKES_SHOWN else ""
        raise RunFailed(
            "data", f"rows don't fit task={recipe.task}:\n{shown}{more}", "mend or remove these rows"
        )
    return found


def _named(recipe: Recipe, row: Row, declared: tuple[str, ...]) -> Row:
    """A row of a data set that declares its classes, with names for numbers; -1 means unlabelled."""

    def name(value: Value) -> Value:
        if not isinstance(value, int):
            return value
        return declared[value] if 0 <= value < len(declared) else None

    (column,) = label_columns(recipe)
    value = row.values.get(column)
    named = [name(item) for item in value] if isinstance(value, list) else name(value)
    return Row({**row.values, column: named}, row.position)


def _label(recipe: Recipe, row: Row) -> Label:
    data = recipe.data
    if isinstance(data.label, tuple):
        return tuple(bool(label_rules.flag(row.values.get(column))) for column in data.label)
    value = row.values.get(data.label)
    match recipe.task:
        case "regression" | "ranking":
            label: Label | None = label_rules.score(value)
        case "multilabel":
            label = label_rules.class_names(value, data.label_delimiter)
        case "token-classification":
            label = examples.tags(value)
        case "question-answering":
            label = _placed(recipe, row)
        case "multiple-choice":
            (label,) = examples.choice_indices(value, examples.choices_of(recipe, row))
        case _:
            label = label_rules.class_name(value)
    assert label is not None, row
    return label


def _placed(recipe: Recipe, row: Row) -> tuple[Answer, ...]:
    context = examples.context_of(recipe, row)
    found = examples.answers(row.values.get(label_columns(recipe)[0])) or ()
    return tuple(there for answer in found if (there := examples.placed(context, answer)) is not None)


def label_names_of(recipe: Recipe, train: Source, raw: Sequence[Label]) -> tuple[str, ...]:
    """The classes by number: data.labels, or those of the training data; none for a task without classes."""
    if recipe.task not in CLASS_TASKS:
        return ()
    if isinstance(recipe.data.label, tuple):
        return recipe.data.label
    declared = recipe.data.labels or train.class_names()
    if declared:
        return declared
    several = recipe.task in ("multilabel", "token-classification")
    found = chain.from_iterable(raw) if several else raw  # type: ignore[arg-type]
    names = label_rules.in_order(str(name) for name in found)
    disorder = unordered(names) if recipe.task == "ordinal" else None
    if disorder is not None:
        raise RunFailed("data", *disorder)
    if len(names) < (1 if recipe.task == "multilabel" else 2):
        text = (
            f"every training example has the label {names[0]!r}"
            if names
            else "no training example has a label"
        )
        raise RunFailed("data", f"{text}: there is nothing to learn", "give data with more classes")
    return names


def label_array(
    recipe: Recipe, source: Source, raw: Sequence[Label], names: tuple[str, ...]
) -> NDArray[Any] | None:
    """int64 (n,) for classes and choices, float32 (n,) for scores, float32 (n, L) of 0 and 1 for several labels.

    None for tags and answers, which stand on tokens.
    """
    match recipe.task:
        case "regression" | "ranking":
            return np.array(raw, np.float32)
        case "multiple-choice":
            return np.array(raw, np.int64)
        case "token-classification" | "question-answering" | "masked-lm":
            return None
    if isinstance(recipe.data.label, tuple):
        return np.array(raw, np.float32)
    number = {name: index for index, name in enumerate(names)}
    try:
        if recipe.task != "multilabel":
            return np.fromiter((number[label] for label in raw), np.int64, len(raw))  # type: ignore[index]
        several = np.zeros((len(raw), len(names)), np.float32)
        for index, labels in enumerate(raw):
            several[index, [number[label] for label in labels]] = 1  # type: ignore[union-attr,index]
        return several
    except KeyError as error:
        raise unknown(str(error.args[0]), recipe, source, raw, names) from None


def unknown(
    label: str, recipe: Recipe, source: Source, raw: Sequence[Label], names: tuple[str, ...]
) -> RunFailed:
    """The failure of a run in whose data a label or tag stands that is not among `names`."""
    several = recipe.task in ("multilabel", "token-classification")
    hits = (label in found if several else label == found for found in raw)  # type: ignore[operator]
    name, row = next(compress(source.rows(), hits))
    message, remedy = unknown_label(label, names, recipe.data.labels is not None)
    return RunFailed("data", f"{place(name, row)}: {message}", remedy)
