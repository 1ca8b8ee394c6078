"""Which columns of the data a recipe reads, by task; the same before a launch and on the nodes."""

from __future__ import annotations

from launcher.recipe.recipe import Recipe

UNLABELLED_TASKS = ("masked-lm",)
"""Tasks that make their targets out of the text itself."""
CLASS_TASKS = ("classification", "multilabel", "ordinal", "token-classification")
"""Tasks whose labels are names of classes."""


def text_columns(recipe: Recipe) -> tuple[str, ...]:
    """The columns of text: one, a pair, or those of a question and its choices."""
    text = recipe.data.text
    columns = (text,) if isinstance(text, str) else text
    return columns + choice_columns(recipe)


def choice_columns(recipe: Recipe) -> tuple[str, ...]:
    """The columns that hold the choices of a multiple-choice task, or the one that holds their list."""
    choices = recipe.data.choices
    if recipe.task != "multiple-choice" or choices is None:
        return ()
    return (choices,) if isinstance(choices, str) else choices


def label_columns(recipe: Recipe) -> tuple[str, ...]:
    """The label column, or the 0/1 columns; none for a task that needs no labels."""
    if recipe.task in UNLABELLED_TASKS:
        return ()
    label = recipe.data.label
    return (label,) if isinstance(label, str) else label
