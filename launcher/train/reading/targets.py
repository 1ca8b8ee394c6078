"""What the model is to predict: label cells read, named and numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed
from launcher.reading.label_check import all_alike, unknown_label
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Seen
from launcher.tasks.shared.labels import as_read, class_numbers
from launcher.tasks.shared.rows import HEADER_AGAIN, is_header
from launcher.train.reading.sources import Source, place

UNLABELLED = (-1.0, "-1")
"""What a hub data set holds in place of the labels of its test split, in every row."""
MISTAKES_SHOWN = 5
"""Rows named in one message; the others are counted."""


def read_labels(recipe: Recipe, source: Source) -> list[Label]:
    """The labels of every row as the task sees them; RunFailed naming the first rows where they don't fit."""
    spec = tasks.of(recipe)
    found: list[Label] = []
    wrong: list[str] = []
    rows = unlabelled = 0
    for name, row in source.rows():
        rows += 1
        mistakes = list(spec.mistakes(row))
        if recipe.data.header and is_header(row):
            wrong.append(f"{place(name, row)}: {HEADER_AGAIN}")
        elif mistakes:
            unlabelled += all(row.values.get(mistake.column) in (None, "") for mistake in mistakes)
            wrong.extend(f"{place(name, row)}: {mistake.column}: {mistake.message}" for mistake in mistakes)
        else:
            found.append(spec.label(row))
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


def label_names_of(recipe: Recipe, train: Source, raw: Sequence[Label]) -> tuple[str, ...]:
    """The classes by number: data.labels, or those of the training data; none for a task without classes."""
    spec = tasks.of(recipe)
    if raw and not any(map(spec.teaches, raw)):
        text = f"no training example has {spec.lesson}: there is nothing to learn"
        raise RunFailed("data", text, "name another column, or give data that have them")
    known = _known_names(recipe, train)
    if known is not None:
        _refuse_all_alike(recipe, raw)
        return known
    seen = classes_seen(spec, raw)
    names = spec.classes_of(seen)
    if spec.class_problem(names, seen) is not None:
        problem = spec.class_problem(names, _with_places(spec, train, seen))
        assert problem is not None
        text = f"{problem.where}: {problem.message}" if problem.where else problem.message
        raise RunFailed("data", text, problem.remedy)
    if len(names) < spec.least_classes:
        text = (
            f"every training example has the label {names[0]!r}"
            if names
            else "no training example has a label"
        )
        raise RunFailed("data", f"{text}: there is nothing to learn", "give data with more classes")
    _refuse_all_alike(recipe, raw)
    return names


def _known_names(recipe: Recipe, train: Source) -> tuple[str, ...] | None:
    """The classes where the labels needn't be looked through for them; none for a task without classes."""
    spec = tasks.of(recipe)
    if not spec.classes:
        return ()
    if isinstance(recipe.data.label, tuple):
        return recipe.data.label
    return spec.given_classes or as_read(train.class_names() or ()) or None


def _refuse_all_alike(recipe: Recipe, raw: Sequence[Label]) -> None:
    """Raises RunFailed where all labels are one, and only what tells them apart can be learnt."""
    alike = bool(raw) and all(label == raw[0] for label in raw)
    if alike and tasks.of(recipe).learns_differences and recipe.distill.teacher is None:
        raise RunFailed("data", *all_alike(raw[0]))


def classes_seen(spec: TaskSpec, raw: Sequence[Label]) -> dict[str, Seen]:
    """How often each class or tag stands in the labels of some rows."""
    counts = Counter(chain.from_iterable(raw) if spec.several else raw)
    return {name: Seen(count, None) for name, count in counts.items()}


def _with_places(spec: TaskSpec, source: Source, seen: dict[str, Seen]) -> dict[str, Seen]:
    """The same with the row in which each stands first."""
    found: dict[str, str] = {}
    for name, row in source.rows():
        for label in spec.class_names(row):
            found.setdefault(label, place(name, row))
    return {name: Seen(known.count, found.get(name)) for name, known in seen.items()}


def numbered(recipe: Recipe, source: Source, raw: Sequence[Label], names: tuple[str, ...]) -> NDArray[Any]:
    """int64 (n,) number of each example's class, or float32 (n, L) of 0 and 1 where it may have several."""
    if isinstance(recipe.data.label, tuple):
        return np.array(raw, np.float32)
    number = class_numbers(chain.from_iterable(raw) if tasks.of(recipe).several else raw, names)
    try:
        if not tasks.of(recipe).several:
            return np.fromiter((number[label] for label in raw), np.int64, len(raw))
        several = np.zeros((len(raw), len(names)), np.float32)
        for index, labels in enumerate(raw):
            several[index, [number[label] for label in labels]] = 1
        return several
    except KeyError as error:
        raise unknown(str(error.args[0]), recipe, source, raw, names) from None


def unknown(
    label: str, recipe: Recipe, source: Source, raw: Sequence[Label], names: tuple[str, ...]
) -> RunFailed:
    """The failure of a run in whose data a label or tag stands that is not among `names`."""
    several = tasks.of(recipe).several
    hits = (label in found if several else label == found for found in raw)
    name, row = next(compress(source.rows(), hits))
    message, remedy = unknown_label(label, names, recipe.data.labels is not None)
    return RunFailed("data", f"{place(name, row)}: {message}", remedy)
