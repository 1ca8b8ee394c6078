"""Labels checked before a launch: between the splits, and against the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher import tasks
from launcher.errors import Problem, choices, nearest
from launcher.reading.data_section import files, read_options
from launcher.reading.files import labelled_rows
from launcher.reading.opening import size_of
from launcher.reading.split_reading import EXAMPLES_SHOWN, Lesson, Split
from launcher.reading.textfiles import FULL_READ_BYTES
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.labels import likeness
from launcher.tasks.shared.rows import shown

MANY_CLASSES = 50
"""With more classes than these nobody looks for the nearest name, and hardly one example for each is doubtful."""


def unknown_label(name: str, known: Sequence[str], given: bool = False) -> tuple[str, str]:
    """Message and remedy for a label that the training data, or data.labels where they are given, don't have."""
    most = 20 if len(known) <= MANY_CLASSES else EXAMPLES_SHOWN
    listed = known if len(known) <= most else (*known[:most], f"{len(known) - most:,} more")
    same = next((other for other in known if likeness(other) == likeness(name)), None)
    guess = same or nearest(name, known) if len(known) <= MANY_CLASSES else None
    hint = f"did you mean {guess}? " if guess else ""
    if given and name.isdecimal() and not any(other.isdecimal() for other in known):
        hint = "the data hold numbers, and data.labels has to name what stands in them; "
    owner = "data.labels" if given else "the training data"
    return f"label {shown(name)} is not in {owner}", f"{hint}labels there: {', '.join(listed)}"


def label_sets(recipe: Recipe, train: Split, others: Sequence[Split]) -> Iterator[Problem]:
    """What is wrong with the labels of the splits, between them and against the recipe."""
    spec = tasks.of(recipe)
    given = spec.given_classes
    if not train.complete and (joint := spec.joint_problem(tuple(train.names))) is not None:
        yield joint
    if given is None and (not train.names or not train.complete or train.failed):
        return
    known = given or known_classes(recipe, train)
    problem = None if train.declared and not spec.words else spec.class_problem(known, train.names)
    if problem is not None:
        yield problem
    else:
        yield from _metric_problems(spec, known)
        yield from _unmeasured(spec, known, others)
    if len(known) == 1 < spec.least_classes:
        yield Problem(
            f"every row has the label {known[0]!r}: there is nothing to learn",
            field="data.label",
            value=recipe.data.label,
            remedy="give data with at least two classes, or name another column",
        )
    if given is None and _class_per_row(recipe, train):
        text = f"has {len(train.names):,} classes in {train.rows:,} rows"
        remedy = "one class per row: is this the label column?" + _other_columns(recipe, train)
        yield Problem(text, None, "data.label", recipe.data.label, remedy)
        return
    unknown = [
        problem
        for split in (others if given is None else (train, *others))
        for problem in _unknown_labels(recipe, split, known)
    ]
    for doubt in spec.class_doubts(known, train.names) if unknown else ():
        yield Problem(doubt.message, "data.train", "data.label", recipe.data.label, doubt.remedy)
    yield from unknown


def nothing_to_learn(recipe: Recipe, train: Split) -> Iterator[Problem]:
    """The problem of training data of which no row has what the task learns from, or all rows say the same."""
    if not train.rows or train.failed:
        return
    spec, lesson = tasks.of(recipe), _lesson(recipe, train)
    if lesson is None or lesson.enough(spec):
        return
    if not lesson.teaches:
        text = f"no row has {spec.lesson}: there is nothing to learn"
        remedy = "name another column, or give data that have them; launch predict needs none"
        yield Problem(text, "data.train", "data.label", recipe.data.label, remedy)
    elif recipe.distill.teacher is None:
        text, remedy = all_alike(lesson.labels[0])
        yield Problem(text, "data.train", "data.label", recipe.data.label, remedy)


def all_alike(label: Label) -> tuple[str, str]:
    """Message and remedy where each row of the training data has this label."""
    said = shown(list(label) if isinstance(label, tuple) else label)
    return (
        f"every row has the label {said}: there is nothing to learn",
        "give data whose labels differ, or name another column",
    )


def _lesson(recipe: Recipe, train: Split) -> Lesson | None:
    """What can be learnt; where it isn't enough in the first rows, small files are read on. None where it isn't known."""
    spec, paths = tasks.of(recipe), files(recipe.data.train)
    if train.complete or train.lesson.enough(spec):
        return train.lesson
    if any(size_of(path) > FULL_READ_BYTES for path in paths):
        return None
    label = recipe.data.label if isinstance(recipe.data.label, str) else None
    for path in paths:
        for row in labelled_rows(path, read_options(recipe.data), label):
            train.lesson.add(spec, row)
            if train.lesson.enough(spec):
                return train.lesson
    return train.lesson


def _metric_problems(spec: TaskSpec, known: Sequence[str]) -> Iterator[Problem]:
    """Metrics that are not computed of these classes, though of others they may be."""
    for key, metric in spec.asked_metrics:
        problem = spec.metric_problem(metric, known)
        if problem is not None and spec.metric_problem(metric) is None:
            yield Problem(problem[0], None, key, metric, problem[1])


def _unmeasured(spec: TaskSpec, known: Sequence[str], others: Sequence[Split]) -> Iterator[Problem]:
    """Metrics of a label that no row of the validation file has: they choose nothing."""
    for split in others if spec.label_metrics else ():
        if split.name != "validation" or not split.complete or split.failed or not split.names:
            continue
        there = spec.metrics_of(tuple(split.names))
        for key, metric in spec.asked_metrics:
            kind, of_label, label = metric.partition("/")
            computed = kind in spec.label_metrics and spec.metric_problem(metric, known) is None
            if of_label and computed and metric not in there:
                remedy = choices(metric, [name for name in there if name.startswith(f"{kind}/")] or [kind])
                yield Problem(f"no row of data.validation has {label}", None, key, metric, remedy)


def _class_per_row(recipe: Recipe, train: Split) -> bool:
    """Whether nearly every row has a class of its own, as in a column of texts, numbers or ids."""
    return (
        tasks.of(recipe).one_class
        and len(train.names) > MANY_CLASSES
        and len(train.names) >= 0.9 * train.rows
    )


def _other_columns(recipe: Recipe, train: Split) -> str:
    others = [
        name for name in train.columns if name not in (*tasks.of(recipe).text_columns, recipe.data.label)
    ]
    return f" There are also: {', '.join(others)}" if others else ""


def _unknown_labels(recipe: Recipe, split: Split, known: Sequence[str]) -> Iterator[Problem]:
    spec, names = tasks.of(recipe), dict.fromkeys(known)
    unknown = {name for name in split.names if spec.taken_for(name, names) is None}
    found = [(name, seen.place) for name, seen in split.names.items() if name in unknown]
    for name, place in found[:EXAMPLES_SHOWN]:
        message, remedy = unknown_label(name, known, recipe.data.labels is not None)
        if place is not None and place.endswith(":1") and not recipe.data.header:
            remedy = f"take line 1 out if it is a header, which data.header=false reads as a row; {remedy}"
        yield Problem(message, place, "data.label", recipe.data.label, remedy)
    if len(found) > EXAMPLES_SHOWN:
        text = f"{len(found) - EXAMPLES_SHOWN:,} more labels that are not known in data.{split.name}"
        yield Problem(text, field="data.label", value=recipe.data.label)


def label_count(recipe: Recipe, train: Split) -> int | None:
    """Outputs of the head; None where a node must count them."""
    spec = tasks.of(recipe)
    if not spec.classes:
        return spec.head_outputs
    if isinstance(recipe.data.label, tuple):
        return len(recipe.data.label)
    if recipe.data.labels is not None:
        return len(recipe.data.labels)
    return len(known_classes(recipe, train)) if train.complete and train.names else None


def known_classes(recipe: Recipe, train: Split) -> tuple[str, ...]:
    """The classes of the training data, as they are declared where they are; of tags all those that the same types may need."""
    spec = tasks.of(recipe)
    return spec.known_classes(train.declared or spec.classes_of(train.names))
