"""Reads what a run directory holds into frozen records: bounded, regular files alone, every type checked, once.

Standard library alone, since a node reads records before anything else starts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import stat
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from launcher.errors import DamagedFile, Problem

MOST_BYTES = 32 << 20
"""A record is some KiB; a larger file is none."""
MOST_LINE_BYTES = 1 << 20
MOST_DEPTH = 50
LARGEST = 2**63
NEWER = "written by a newer version of launcher: use that one"
R = TypeVar("R")


def open_regular(path: Path) -> BinaryIO:
    """A file for reading, links not followed. Raises FileNotFoundError, and DamagedFile for a FIFO, device or link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"can't be read: {error.strerror}"
        raise DamagedFile(Problem(reason, where=str(path))) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFile(Problem("is not a regular file", where=str(path)))
    return os.fdopen(descriptor, "rb")


def read_text(path: Path, most: int = MOST_BYTES) -> str | None:
    """The text of a small file, or None where there is none. Raises DamagedFile where it is no such file."""
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(Problem(f"can't be read: {error.strerror}", where=str(path))) from None
    if len(content) > most:
        raise DamagedFile(Problem(f"is larger than {most:,} bytes", where=str(path)))
    return content.decode("utf-8", "replace")


def read_tail(path: Path, most: int, offset: int = 0) -> str:
    """The last `most` bytes of a file as text, but nothing before `offset`; empty where there is no such file."""
    try:
        with open_regular(path) as file:
            file.seek(max(offset, file.seek(0, os.SEEK_END) - most))
            return file.read(most).decode("utf-8", "replace")
    except (FileNotFoundError, DamagedFile):
        return ""


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file. Raises DamagedFile where it holds something else."""
    text = read_text(path)
    return None if text is None else parse_object(text, str(path))


def parse_object(text: str, where: str) -> dict[str, Any]:
    """A JSON object from its text. Raises DamagedFile where it is none."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        value = None
        reason = "it is nested too deep"
    except ValueError as error:
        raise DamagedFile(Problem(f"is not readable JSON: {error}", where=where)) from None
    else:
        reason = "it is nested too deep" if _is_deep(text, value) else "it holds no object"
        if isinstance(value, dict) and reason == "it holds no object":
            return value
    raise DamagedFile(Problem(f"is not readable JSON: {reason}", where=where))


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line; none where there is no such file, and not those that were torn."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    with file:
        while line := file.readline(MOST_LINE_BYTES):
            try:
                yield parse_object(line.decode("utf-8", "replace"), str(path))
            except DamagedFile:
                continue


def make(kind: type[R], tree: Mapping[str, Any], where: str) -> R:
    """A record from a JSON object.

    Raises DamagedFile naming the first key that is missing or of another type, or that this version doesn't know where
    the record has no field `others` to keep it in.
    """
    known = _fields(kind)  # type: ignore[arg-type]  # mypy doubts that classes are hashable
    unknown = {key: value for key, value in tree.items() if key not in known}
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in tree:
            values[field.name] = _checked(tree[name], field.hint, name, where)
        elif field.is_required:
            raise DamagedFile(Problem(f"{name} is missing", where=where))
    if "others" in {field.name for field in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        values["others"] = unknown
    elif unknown:
        raise DamagedFile(Problem(f"has the unknown key {min(unknown)!r}", where=where, remedy=NEWER))
    return kind(**values)


def tree_of(record: Any) -> dict[str, Any]:
    """A record as plain values for JSON, unknown keys as they came; NaN and infinities become null."""
    names = {field.name: name for name, field in _fields(type(record)).items()}  # type: ignore[arg-type]
    tree = {name: _plain(getattr(record, field)) for field, name in names.items()}
    return {**tree, **getattr(record, "others", {})}


def named(name: str) -> Any:
    """A field that JSON calls otherwise, since its name there is a word of Python."""
    return dataclasses.field(metadata={"name": name})


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    hint: Any
    is_required: bool


@functools.cache
def _fields(kind: Any) -> dict[str, _Field]:
    """The fields of a record by their JSON names."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.metadata.get("name", field.name): _Field(
            field.name,
            hints[field.name],
            field.default is missing and field.default_factory is missing,
        )
        for field in dataclasses.fields(kind)
        if field.name != "others"
    }


def _checked(value: Any, hint: Any, name: str, where: str) -> Any:
    """The value as the type of its field. Raises DamagedFile."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _checked_union(value, arguments, name, where)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_checked(item, arguments[0], name, where) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _checked(item, arguments[1], f"{name}.{key}", where) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return make(hint, value, f"{where}: {name}")
    if origin is None and _is_plain(value, hint):
        return value
    raise DamagedFile(Problem(f"{name} is {_shown(value)}, which is no {_word(hint)}", where=where))


def _checked_union(value: Any, choices: tuple[Any, ...], name: str, where: str) -> Any:
    if value is None and types.NoneType in choices:
        return None
    *first, last = [choice for choice in choices if choice is not types.NoneType]
    for choice in first:
        try:
            return _checked(value, choice, name, where)
        except DamagedFile:
            continue
    return _checked(value, last, name, where)


def _is_plain(value: Any, hint: Any) -> bool:
    if hint is float:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (math.isfinite(value) if isinstance(value, float) else abs(value) < LARGEST)
        )
    return type(value) is hint and (hint is not int or abs(value) < LARGEST)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tree_of(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _is_deep(text: str, value: Any) -> bool:
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return False
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _word(hint: Any) -> str:
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", tuple: "list"}
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return words.get(origin, "object")
