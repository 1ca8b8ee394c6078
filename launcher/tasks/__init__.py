"""What is learnt, without torch: a file here is a task, named as it is; `shared` has what several of them use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from launcher.errors import UserError
from launcher.resources import module_names

if TYPE_CHECKING:
    from launcher.recipe.recipe import Recipe
    from launcher.tasks.shared.base import TaskSpec


def names() -> tuple[str, ...]:
    """The names that `task` may have, one for each file in this package."""
    return module_names("tasks")


def named(name: str) -> type[TaskSpec]:
    """What a task says of itself whatever the recipe."""
    assert name in names()
    found: type[TaskSpec] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").SPEC
    return found


def called(name: str) -> str | None:
    """The task that is called so elsewhere, by a class, a task type or the name of a data set; None for no task of ours."""
    word = _as_word(name)
    return next((task for task in names() if word in map(_as_word, named(task).called)), None)


def _as_word(name: str) -> str:
    return name.lower().replace("_", "-")


def refuse_unexplained(recipe: Recipe) -> None:
    """Raise UserError where the predictions of a recipe's task can't be explained."""
    if not named(recipe.task).explained:
        known = ", ".join(name for name in names() if named(name).explained)
        raise UserError(
            f"a prediction of task={recipe.task} can't be explained yet", remedy=f"tasks: {known}"
        )


def refuse_without_negatives(recipe: Recipe) -> None:
    """Raise UserError where no negatives can be found by a model of a recipe's task."""
    if named(recipe.task).negatives_by is None:
        known = " and ".join(name for name in names() if named(name).negatives_by)
        text = f"--negatives: a model of task={recipe.task} can't say which documents are near a query"
        raise UserError(text, remedy=f"use a run of {known}")


def of(recipe: Recipe) -> TaskSpec:
    """The task of a recipe, as the recipe has it."""
    return named(recipe.task)(recipe)
