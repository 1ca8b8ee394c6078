"""An object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.reading.json_values import AS_RECORDS, is_columns, parse, record
from launcher.reading.messages import into_new, mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import count_lines, lines
from launcher.tasks.shared.rows import Row

A_DOCUMENT = "begins a JSON document that isn't one object a line", "data.format=json"
AHEAD = 1 << 20
"""Characters within which the end of something is looked for that goes on on the next lines."""


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each line that isn't blank as a row."""
    first = True
    for position, line in lines(path):
        if line and not line.isspace():
            content = _content(path, position, line.removeprefix("\ufeff"), first=first)
            if first and is_columns(content):
                raise mistake(path, position, "holds columns, not rows", AS_RECORDS)
            first = False
            yield Row(record(path, position, content), position)


def count(path: Path, _: ReadOptions) -> int | None:
    """Lines that aren't blank; None in a large file."""
    return count_lines(path, but=" \t\r\n")


def _content(path: Path, position: int, line: str, *, first: bool) -> Any:
    """What a line holds; UserError where it isn't JSON, also where what it begins goes on on the next lines."""
    try:
        content = parse(path, position, line)
    except UserError:
        _refuse_longer(path, position, line, first=first)
        raise
    if first and isinstance(content, list) and _are_objects(content):
        raise mistake(path, position, *A_DOCUMENT)
    return content


def _refuse_longer(path: Path, position: int, line: str, *, first: bool) -> None:
    text = _text_from(path, position)
    value, end = _value(text)
    if value is None:
        start = "".join(line.split())
        if first and (len(text) >= AHEAD or start in ("[", "{") or start.startswith("[{")):
            raise mistake(path, position, *A_DOCUMENT)
        return
    count = text[:end].count("\n") + 1
    if first and not text[end:].strip() and _is_document(value):
        raise mistake(path, position, *A_DOCUMENT)
    if count > 1 and isinstance(value, dict):
        message = f"begins an object of {count} lines, where each has one line"
        raise mistake(path, position, message, f"jq -c . {into_new(path, '.jsonl')}")


def _text_from(path: Path, position: int) -> str:
    """What stands from a line on, AHEAD characters or some more."""
    found: list[str] = []
    size = 0
    for number, line in lines(path):
        if number >= position:
            found.append(line)
            size += len(line) + 1
        if size >= AHEAD:
            break
    return "\n".join(found)


def _value(text: str) -> tuple[Any, int]:
    """The value that a text begins with, and where it ends; None where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip()))
    except (ValueError, RecursionError):
        return None, 0


def _is_document(value: Any) -> bool:
    """Whether something is a list of objects, or names such lists or columns."""
    parts = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(part, dict) or _are_objects(part) for part in parts)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
