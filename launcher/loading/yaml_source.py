"""YAML 1.2 with line numbers, for files that nobody has to trust.

Only plain data is read: tags, anchors, aliases, merge keys, invisible characters, deep nesting and large files are
mistakes, found while scanning, so that nothing is executed or expanded on the way.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from launcher.errors import Problem, UserError
from launcher.recipe import MOST_BYTES

MAX_DEPTH = 50
MAX_VALUES = 20_000
PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in Python alone, 1 MB takes seconds to refuse

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_LONGEST_NUMBER = 400

_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_SINGLE = re.compile(r"'(?:[^']|'')*'")
_DOUBLE = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z/._][A-Za-z0-9/._@+-]*")
_WORDS_OF_YAML_1_1 = frozenset(("y", "n", "yes", "no", "on", "off"))

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value and where it stands."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    line: int
    """Line of its key (of itself where it has none), counted from 1."""
    text: str | None = None
    """How a plain scalar was written; None for quoted text, lists and mappings."""

    def plain(self) -> Any:
        """The value without positions: lists and dicts of scalars."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        return self.value


def scalar(text: str) -> Scalar:
    """The value of a plain scalar under the core schema of YAML 1.2: `no` is text, `010` is ten, `3e-4` a float."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.fullmatch(text)
    return float(special[1] + special[2]) if special else text


def _is_utf8(text: str) -> bool:
    """Whether what Python couldn't decode in a locale that isn't UTF-8 is that."""
    try:
        text.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        return False
    return True


def hidden_character(text: str) -> str | None:
    """Why `text` can't be shown as it is: the first control or bidirectional character in it, or None."""
    found = _HIDDEN.search(text)
    if found is None:
        return None
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # so Python keeps what can't be decoded in a word of the command line
        byte = f"byte {code - 0xDC00:#x}"
        return (
            f"is no text in this locale (LC_ALL=C.UTF-8 has it): {byte}"
            if _is_utf8(text)
            else f"is not UTF-8: {byte}"
        )
    return f"contains the invisible character U+{code:04X}"


def read_text(path: Path, where: str) -> str:
    """The text of a small file, without a byte order mark; UserError where it can't be read as text."""
    try:
        if path.is_dir():
            raise UserError("is a directory, not a file", where=where)
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError("is not a regular file", where=where)
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"can't be read: {reason}", where=where) from None
    if len(content) > MOST_BYTES:
        raise UserError(f"is larger than {MOST_BYTES // 1_000_000} MB", where=where)
    try:
        return content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError("is not valid UTF-8", where=f"{where}:{line}", remedy="save it as UTF-8") from None


def parse(text: str, where: str, problems: list[Problem]) -> Node:
    """The mapping that a YAML text holds; adds repeated keys to `problems`, at `where:line`.

    Raises UserError with all problems so far where the text is not a mapping of plain data.
    """
    hidden = _HIDDEN.search(text)
    if hidden:
        line = text.count("\n", 0, hidden.start()) + 1
        raise UserError(str(hidden_character(hidden[0])), where=f"{where}:{line}")
    reader = _Reader(where, problems)
    try:
        root = reader.document(yaml.parse(text, Loader=PARSER))
    except yaml.YAMLError as error:
        raise UserError([*problems, reader.syntax(error)]) from None
    if root is None or root.value is None:
        raise UserError("is empty", where=where, remedy="write `key: value` lines")
    if not isinstance(root.value, dict):
        reader.refuse(root.line, "is not a mapping of keys to values", remedy="write `key: value` lines")
    return root


def quoted(text: str) -> str | None:
    """What stands between the quotes, escapes resolved; None where `text` is not quoted as a whole."""
    if _SINGLE.fullmatch(text):
        return text[1:-1].replace("''", "'")
    if not _DOUBLE.fullmatch(text):
        return None
    try:
        values = [
            event.value for event in yaml.parse(text, Loader=PARSER) if isinstance(event, yaml.ScalarEvent)
        ]
    except yaml.YAMLError:
        return None
    return str(values[0])


class _Reader:
    """Builds nodes from the parser's events, refusing what is not plain data."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        self.where = where
        self.problems = problems
        self.values = 0

    def report(self, line: int, message: str, field: str | None = None, remedy: str | None = None) -> None:
        self.problems.append(Problem(message, where=f"{self.where}:{line}", field=field, remedy=remedy))

    def refuse(
        self, line: int, message: str, field: str | None = None, remedy: str | None = None
    ) -> NoReturn:
        """Report, and read no further: what follows can't be understood, or should not be."""
        self.report(line, message, field, remedy)
        raise UserError(self.problems)

    def syntax(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or "it can't be read"
        remedy = None
        if "\\t" in repr(problem) or "cannot start any token" in problem:
            remedy = "quote text that starts with a special character, and indent with spaces, not tabs"
        where = self.where if mark is None else f"{self.where}:{mark.line + 1}"
        return Problem(f"is not valid YAML: {problem}", where=where, remedy=remedy)

    def document(self, events: Iterable[yaml.Event]) -> Node | None:
        root: Node | None = None
        stream = iter(events)
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self.refuse(_line(event), "starts a second document", remedy="one file, one recipe")
            elif isinstance(event, yaml.NodeEvent):
                root = self.node(event, stream, "", 0)
        return root

    def node(self, event: yaml.Event, stream: Iterator[yaml.Event], path: str, depth: int) -> Node:
        line = _line(event)
        self.values += 1
        field = path or None
        if self.values > MAX_VALUES:
            self.refuse(line, f"holds more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            self.refuse(line, f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            self.refuse(line, "aliases (*name) are not allowed", field, "write the value out")
        if getattr(event, "anchor", None) is not None:
            self.refuse(line, "anchors (&name) are not allowed", field, "write the value out")
        if getattr(event, "tag", None) is not None:
            self.refuse(
                line,
                "tags (!name) are not allowed",
                field,
                "leave the tag out; quote text that starts with !",
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(tuple(self.items(stream, path, depth + 1)), line)
        if isinstance(event, yaml.MappingStartEvent):
            return Node(self.mapping(stream, path, depth + 1), line)
        assert isinstance(event, yaml.ScalarEvent), event
        if reason := hidden_character(event.value):
            self.refuse(line, reason, field)
        plain = event.implicit[0]
        return Node(scalar(event.value), line, event.value) if plain else Node(event.value, line)

    def items(self, stream: Iterator[yaml.Event], path: str, depth: int) -> Iterator[Node]:
        for event in stream:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self.node(event, stream, path, depth)

    def mapping(self, stream: Iterator[yaml.Event], path: str, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for event in stream:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, stream, path, depth)
            if isinstance(key.value, tuple | dict):
                self.refuse(
                    key.line, "a list or mapping can't be a key", remedy="quote it if it is meant as text"
                )
            name = str(key.value) if key.text is None else key.text
            if name == "<<" and key.text is not None:
                self.refuse(key.line, "merge keys (<<) are not allowed", remedy="write the values out")
            field = f"{path}.{name}" if path else name
            value = self.node(next(stream), stream, field, depth)
            if name in found:
                lines = f"on lines {found[name].line} and {key.line}"
                self.report(key.line, f"is given twice, {lines}", field=field, remedy="keep one of them")
            found.setdefault(name, replace(value, line=key.line))
        return found


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def dump(tree: dict[str, Any], indent: str = "") -> str:
    """YAML text of nested plain values, which `parse` reads back as they were (and YAML 1.1 readers as well)."""
    lines = []
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{_written(name)}:\n{dump(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{_written(name)}: {_written(value)}\n")
    return "".join(lines)


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _written_float(value)
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and isinstance(scalar(value), str)
        return value if plain and value.lower() not in _WORDS_OF_YAML_1_1 else _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(name)}: {_written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    assert isinstance(value, int), value
    return str(value)


def _written_float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[repr(value)]
    mantissa, exponent, power = repr(value).partition("e")
    # YAML 1.1 takes 2e-05 for text: it wants the point, and a sign on the exponent.
    return mantissa + ("" if "." in mantissa else ".0") + exponent + power


def _quoted(text: str) -> str:
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
