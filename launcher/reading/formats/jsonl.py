"""An object on each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launcher.reading.json_values import AS_RECORDS, is_columns, parse, record
from launcher.reading.messages import mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import count_lines, lines
from launcher.tasks.shared.rows import Row


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each line that isn't blank as a row."""
    first = True
    for position, line in lines(path):
        if line and not line.isspace():
            if first and _is_part_of_a_document(line):
                text = "begins a JSON document that isn't one object a line"
                raise mistake(path, position, text, "data.format=json")
            content = parse(path, position, line)
            if first and is_columns(content):
                raise mistake(path, position, "holds columns, not rows", AS_RECORDS)
            first = False
            yield Row(record(path, position, content), position)


def count(path: Path, _: ReadOptions) -> int | None:
    """Lines that aren't blank; None in a large file."""
    return count_lines(path, but=" \t\r\n")


def _is_part_of_a_document(line: str) -> bool:
    """Whether the first line is a list of objects, or the beginning of something that goes on on the next line."""
    start = "".join(line.split())
    return start in ("[", "{") or start.startswith("[{")
