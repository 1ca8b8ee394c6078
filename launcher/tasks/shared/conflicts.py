"""Every contradiction within a recipe: those whatever the task, and those between the task and other keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from launcher import tasks
from launcher.errors import Conflict
from launcher.recipe.conflicts import conflicts as whatever_the_task
from launcher.recipe.recipe import LONGEST, Recipe
from launcher.tasks.shared.base import TaskSpec


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Every contradiction within the recipe itself, whatever the machine or the data."""
    yield from whatever_the_task(recipe)
    yield from _task_conflicts(recipe, tasks.of(recipe))


def _task_conflicts(recipe: Recipe, spec: TaskSpec) -> Iterator[Conflict]:
    yield from spec.conflicts()
    yield from _column_conflicts(recipe, spec)
    yield from _window_conflicts(recipe, spec)
    yield from _loss_conflicts(recipe, spec)
    yield from _metric_conflicts(spec)
    if recipe.mlm.probes and not spec.probes:
        yield Conflict(("mlm.probes", "task"), f"are for {_those_with('probes')}", "leave them out")
    if recipe.data.shots is not None and not spec.one_class:
        text = "counts examples of each class, and this task has no classes"
        yield Conflict(("data.shots", "task"), text, "use data.limit")
    if recipe.model.head.layers and not spec.deep_head:
        yield Conflict(
            ("model.head.layers", "task"),
            f"is for {_those_with('deep_head')}",
            "leave it out: the head of this task is the one of the model's family",
        )
    if recipe.distill.hidden and spec.reads != "first":
        text = "compares states of the first token, which this task doesn't read"
        yield Conflict(("distill.hidden", "task"), text, "leave it out")


def _column_conflicts(recipe: Recipe, spec: TaskSpec) -> Iterator[Conflict]:
    if isinstance(recipe.data.label, tuple) and not spec.flags:
        text = f"a list of label columns is for task={_those_with('flags')}"
        yield Conflict(("data.label", "task"), text, "name one column")
    if spec.labelled and (both := set(spec.label_columns) & set(spec.given_texts)):
        text = f"{min(both)} is also read as a text: nothing would be left to predict"
        yield Conflict(("data.label", "data.text"), text, "name another column")
    if len(spec.given_texts) not in spec.texts:
        needed = {1: "one column", 2: "two columns"}[spec.texts[0]]
        yield Conflict(("data.text", "task"), f"task={recipe.task} needs {needed}", spec.example_columns)
    if recipe.data.choices is not None and not spec.choices:
        yield Conflict(("data.choices", "task"), f"is for task={_those_with('choices')}", "leave it out")
    if recipe.data.negatives is not None and not spec.negatives:
        yield Conflict(("data.negatives", "task"), f"is for task={_those_with('negatives')}", "leave it out")


def _window_conflicts(recipe: Recipe, spec: TaskSpec) -> Iterator[Conflict]:
    data = recipe.data
    if data.windows is not None and not spec.windows:
        yield Conflict(("data.windows", "task"), f"is for {_those_with('windows')}", "leave it out")
    most = spec.most_shared(data.max_length or LONGEST)
    if data.stride is not None and most is not None and data.stride > most:
        longest = f"data.max_length={data.max_length}" if data.max_length else LONGEST
        yield Conflict(
            ("data.stride", "data.max_length"),
            f"leaves too little of a window of {longest} tokens to go on by",
            (f"use data.stride={most} or less, " if most else "") + "leave it out, or raise data.max_length",
        )


def _loss_conflicts(recipe: Recipe, spec: TaskSpec) -> Iterator[Conflict]:
    loss, known = recipe.train.loss, spec.losses
    if loss.name is not None and loss.name not in known:
        yield Conflict(
            ("train.loss.name", "task"),
            f"is not a loss of task={recipe.task}",
            "use " + " or ".join(known) if known else "leave it out: this task has one loss",
        )
    of_classes = "cross_entropy" in known
    if loss.label_smoothing and (not of_classes or loss.name not in (None, "cross_entropy")):
        yield Conflict(
            ("train.loss.label_smoothing", "train.loss.name", "task"),
            f"smooths the labels of cross-entropy in {_of_classes()}",
            "leave it out, or use train.loss.name=cross_entropy",
        )
    if loss.class_weights is not None and (not of_classes or loss.name == "custom"):
        yield Conflict(
            ("train.loss.class_weights", "train.loss.name", "task"),
            f"weighs the classes of cross_entropy and focal in {_of_classes()}",
            "leave it out",
        )


def _metric_conflicts(spec: TaskSpec) -> Iterator[Conflict]:
    for key, metric in spec.asked_metrics:
        problem = spec.metric_problem(metric)
        if problem is not None:
            yield Conflict((key, "task"), *problem)


def _of_classes() -> str:
    return " and ".join(_those(lambda spec: "cross_entropy" in spec.losses))


def _those_with(attribute: str) -> str:
    """Names of the tasks that have something."""
    return ", ".join(_those(lambda spec: bool(getattr(spec, attribute))))


def _those(chosen: Callable[[type[TaskSpec]], bool]) -> list[str]:
    return [name for name in tasks.names() if chosen(tasks.named(name))]
