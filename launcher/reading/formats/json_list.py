"""A JSON document that is a list of objects, or {"data": [...]}; SQuAD's form is told by its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launcher.reading.formats import squad
from launcher.reading.json_values import parse, record, records
from launcher.reading.messages import mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import whole_text
from launcher.tasks.shared.rows import Row


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each object as a row."""
    text = whole_text(path)
    if not text.strip():
        raise mistake(path, None, "is empty", "give a list of objects")
    content = parse(path, None, text)
    if squad.is_squad(content):
        yield from squad.questions(path, content)
        return
    for position, entry in enumerate(records(path, content), start=1):
        yield Row(record(path, position, entry), position)
