"""Reads what a run directory holds into frozen records: bounded, regular files alone, every type checked, once.

Standard library alone, since a node reads records before anything else starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import re
import stat
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from launcher.errors import DamagedFile

MOST_BYTES = 32 << 20
"""A record is some KiB; a larger file is none."""
MOST_LINE_BYTES = 1 << 20
MOST_ENDLESS = 16
"""Pieces of that size in which no line ends, after which the rest of a file isn't read."""
MOST_DEPTH = 50
LARGEST = 2**63
NEWER = "written by a newer version of launcher: use that one"
ONLY_IF_KNOWN = {"only_if_known": True}
"""Metadata of a field that JSON doesn't have where it is None."""
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extensible:
    """A record to which newer versions may have added keys."""

    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """These keys and their values, kept as they are."""


def open_regular(path: Path) -> BufferedReader:
    """A file for reading, links not followed. Raises FileNotFoundError, and DamagedFile for a FIFO, device or link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"can't be read: {error.strerror}"
        raise DamagedFile(reason, where=str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFile("is not a regular file", where=str(path))
    return os.fdopen(descriptor, "rb")


def read_text(path: Path, most: int = MOST_BYTES) -> str | None:
    """The text of a small file, or None where there is none. Raises DamagedFile where it is no such file."""
    try:
        with open_regular(path) as file:
            content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(f"can't be read: {error.strerror}", where=str(path)) from None
    if len(content) > most:
        raise DamagedFile(f"is larger than {most:,} bytes", where=str(path))
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
        value = _DECODER.decode(text)
    except RecursionError:
        value = None
        reason = "it is nested too deep"
    except ValueError as error:
        raise DamagedFile(f"is not readable JSON: {error}", where=where) from None
    else:
        reason = "it is nested too deep" if _is_deep(text, value) else "it holds no object"
        if isinstance(value, dict) and reason == "it holds no object":
            return value
    raise DamagedFile(f"is not readable JSON: {reason}", where=where)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, long ones in pieces; nothing more after MOST_ENDLESS of these: a hole is read as zeros for hours."""
    endless = 0
    while endless < MOST_ENDLESS and (line := file.readline(MOST_LINE_BYTES)):
        endless += len(line) == MOST_LINE_BYTES and not line.endswith(b"\n")
        yield line


class GrowingFile:
    """A file that somebody writes to: its whole lines, each once; one of more than MOST_LINE_BYTES is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._is_within = False
        """Whether a line that is too long goes on here."""

    def new_lines(self) -> Iterator[tuple[int, str]]:
        """(its place in the file, a line) of those that have come since; none where there is no such file. Raises DamagedFile."""
        with contextlib.suppress(FileNotFoundError), open_regular(self._path) as file:
            file.seek(self._offset)
            for piece in lines_of(file):
                if not piece.endswith(b"\n") and len(piece) < MOST_LINE_BYTES:
                    return
                place, self._offset = self._offset, self._offset + len(piece)
                is_part, self._is_within = self._is_within, not piece.endswith(b"\n")
                if not is_part and not self._is_within:
                    yield place, piece.decode("utf-8", "replace")


def read_json_lines(path: Path, words: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line; none where there is no such file, and not those that were torn.

    With `words`, lines that have none of them aren't parsed, which takes most of the time.
    """
    wanted = [word.encode() for word in words]
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    with file:
        for line in lines_of(file):
            if wanted and not any(word in line for word in wanted):
                continue
            try:
                yield parse_object(line.decode("utf-8", "replace"), str(path))
            except DamagedFile:
                continue


def make(kind: type[R], tree: Mapping[str, Any], where: str) -> R:
    """A record from a JSON object.

    Raises DamagedFile naming the first key that is missing or of another type, or that this version doesn't know where
    the record isn't Extensible.
    """
    fields = _fields(kind)  # type: ignore[arg-type]  # mypy doubts that classes are hashable
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in tree:
            values[field.name] = field.check(tree[name], name, where)
        elif field.is_required:
            raise DamagedFile(f"{name} is missing", where=where)
    if len(values) < len(tree):
        unknown = tree.keys() - fields.keys()
        if not issubclass(kind, Extensible):
            raise DamagedFile(f"has the unknown key {min(unknown)!r}", where=where, remedy=NEWER)
        values["others"] = {key: value for key, value in tree.items() if key in unknown}
    return kind(**values)


def read_record(kind: type[R], path: Path) -> R | None:
    """The record in a JSON file, or None where there is no such file. Raises DamagedFile."""
    tree = read_json(path)
    return None if tree is None else make(kind, tree, str(path))


def readable(directory: Path, name: re.Pattern[str], kind: type[R], most: int) -> Iterator[R]:
    """The records in the files of a directory so named, but those that are damaged, or have more than so many bytes."""
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for path in entries:
        if name.fullmatch(path.name):
            with contextlib.suppress(DamagedFile):
                yield make(kind, parse_object(read_text(path, most) or "", str(path)), str(path))


def tree_of(record: Any) -> dict[str, Any]:
    """A record as plain values for JSON, unknown keys as they came; NaN and infinities become null."""
    fields = _fields(type(record))  # type: ignore[arg-type]
    values = {name: (getattr(record, field.name), field) for name, field in fields.items()}
    tree = {
        name: _plain(value)
        for name, (value, field) in values.items()
        if value is not None or not field.only_if_known
    }
    return {**tree, **record.others} if isinstance(record, Extensible) else tree


def named(name: str) -> Any:
    """A field that JSON calls otherwise, since its name there is a word of Python."""
    return dataclasses.field(metadata={"name": name})


Check = Callable[[Any, str, str], Any]
"""What a value is as the type of its field, given the field's name and where it stands. Raises DamagedFile."""


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    check: Check
    is_required: bool
    only_if_known: bool


@functools.cache
def _fields(kind: Any) -> Mapping[str, _Field]:
    """The fields of a record but `others`, by their JSON names; worked out once, since lists of runs make thousands."""
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    return {
        field.metadata.get("name", field.name): _Field(
            field.name,
            _check(hints[field.name]),
            field.default is missing and field.default_factory is missing,
            "only_if_known" in field.metadata,
        )
        for field in dataclasses.fields(kind)
        if field.name != "others"
    }


@functools.cache
def _check(hint: Any) -> Check:
    """The check of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object):
        return lambda value, _name, _where: value
    if origin in (types.UnionType, typing.Union):
        return _check_of_union(arguments)
    if hint is Path:
        text = _check(str)
        return lambda value, name, where: Path(text(value, name, where))
    test, convert = _test_of(hint, origin, arguments)

    def check(value: Any, name: str, where: str) -> Any:
        if not test(value):
            raise DamagedFile(f"{name} is {_shown(value)}, which is no {_word(hint)}", where=where)
        return value if convert is None else convert(value, name, where)

    return check


def _test_of(
    hint: Any, origin: Any, arguments: tuple[Any, ...]
) -> tuple[Callable[[Any], bool], Check | None]:
    """Whether a value is of the type at all, and how what it holds is checked."""
    if origin is typing.Literal:
        return lambda value: value in arguments, None
    if origin is tuple:
        item = _check(arguments[0])
        return _is_list, lambda value, name, where: tuple(item(each, name, where) for each in value)
    if origin is Mapping:
        item = _check(arguments[1])
        return _is_dict, lambda value, name, where: {
            key: item(each, f"{name}.{key}", where) for key, each in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return _is_dict, lambda value, name, where: make(hint, value, f"{where}: {name}")  # type: ignore[arg-type]
    if hint in (int, float):
        return (_is_whole if hint is int else is_number), None
    return lambda value: type(value) is hint, None


def _check_of_union(choices: tuple[Any, ...]) -> Check:
    checks = [_check(choice) for choice in choices if choice is not types.NoneType]
    is_optional, (*first, last) = types.NoneType in choices, checks
    if is_optional and not first:
        return lambda value, name, where: None if value is None else last(value, name, where)

    def check(value: Any, name: str, where: str) -> Any:
        if value is None and is_optional:
            return None
        for each in first:
            with contextlib.suppress(DamagedFile):
                return each(value, name, where)
        return last(value, name, where)

    return check


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def is_number(value: object) -> typing.TypeGuard[int | float]:
    """Whether a value of JSON is a number, finite and no larger than others can read."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < LARGEST


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < LARGEST


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tree_of(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
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
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: json.loads makes one for each text where it is given an option, half as slow again."""


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _word(hint: Any) -> str:
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", tuple: "list"}
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return words.get(origin, "object")
