"""What the cell of a label means: a class, several, a number, or yes and no; and the order of classes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from launcher.tasks.shared.rows import Value, shown

FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def class_name(value: Value) -> str | None:
    """A class as it was written, or None where there is none; 3.0 and 3 are the same class."""
    if isinstance(value, list | dict):
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if value is None else str(value).strip() or None


def class_names(value: Value, delimiter: str) -> tuple[str, ...] | None:
    """The classes in one multilabel cell, perhaps none; None where the label is missing or no list of names."""
    if isinstance(value, str):
        value = value.split(delimiter)
    elif not isinstance(value, list):
        name = class_name(value)
        return (name,) if name else None
    elif any(isinstance(entry, list | dict) for entry in value):
        return None
    return tuple(name for name in map(class_name, value) if name)


def score(value: Value) -> float | None:
    """A finite number, or None where the cell doesn't hold one."""
    if value is None or isinstance(value, list | dict):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def flag(value: Value) -> bool | None:
    """Whether a 0/1 column is set, or None where it holds anything else."""
    return FLAGS.get(str(value).strip().lower())


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Label names as they are numbered: by value where all are numbers, otherwise by their characters."""
    unique = set(names)
    numbers = {name: score(name) for name in unique}
    if any(number is None for number in numbers.values()):
        return tuple(sorted(unique))
    return tuple(sorted(unique, key=lambda name: (numbers[name] or 0.0, name)))


def class_mistake(value: Value) -> str | None:
    """What is wrong with the cell of one class, or None."""
    if isinstance(value, list):
        return f"{shown(value)} is a list: task=multilabel is for several labels on one text"
    if class_name(value) is None:
        is_empty = value is None or isinstance(value, str | float)
        return "the label is empty" if is_empty else f"{shown(value)} is an object, not a class"
    return None


def score_mistake(value: Value) -> str | None:
    """What is wrong with the cell of a number, or None."""
    return None if score(value) is not None else f"{shown(value)} is not a finite number"


def flag_mistake(value: Value) -> str | None:
    """What is wrong with the cell of a 0/1 column, or None."""
    return None if flag(value) is not None else f"{shown(value)} is neither 0 nor 1"
