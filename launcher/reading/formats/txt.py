"""A text on each line, empty ones included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import count_lines, lines
from launcher.tasks.shared.rows import Row


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each line as a row with the one column `text`."""
    return (Row({"text": line}, number) for number, line in lines(path))


def count(path: Path, _: ReadOptions) -> int | None:
    """Lines; None in a large file."""
    return count_lines(path)
