"""Dotted names of columns, which reach into the objects of json and parquet files: `choices.text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launcher.recipe.data import Data

DEPTH = 3
"""Levels of objects that messages list."""
MISSING = object()


def dotted_names(data: Data) -> tuple[str, ...]:
    """The columns named in a recipe that may lie within an object."""
    given = (data.text, data.label, data.choices, data.negatives, data.group)
    names = [name for value in given for name in ((value,) if isinstance(value, str) else value or ())]
    if isinstance(data.choices, str) and data.choices.endswith(".text"):
        names.append(f"{data.choices.removesuffix('text')}label")  # what its row calls each of them
    return tuple(dict.fromkeys(name for name in names if "." in name))


def add_reached(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A row's cells with what the dotted `names` reach, where no column has such a name itself."""
    found = {name: reached(values, name) for name in names if name not in values}
    return {**values, **{name: value for name, value in found.items() if value is not MISSING}}


def without_reached(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A row's cells as they stood in the file."""
    added = {name for name in names if name.partition(".")[0] in values}
    return {name: value for name, value in values.items() if name not in added}


def reached(value: Any, name: str) -> Any:
    """What a dotted name reaches, MISSING where there is nothing; of a list of objects the list of what it reaches in each."""
    if isinstance(value, list):
        found = [reached(item, name) for item in value]
        return MISSING if MISSING in found or not found else found
    key, dot, rest = name.partition(".")
    if not isinstance(value, Mapping) or key not in value:
        return MISSING
    return reached(value[key], rest) if dot else value[key]


def names_within(name: str, value: Any, depth: int = DEPTH) -> Iterator[str]:
    """The dotted names of what lies in the objects of a cell."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and depth:
        for key, inner in value.items():
            yield f"{name}.{key}"
            yield from names_within(f"{name}.{key}", inner, depth - 1)
