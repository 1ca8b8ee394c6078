"""Whether the first line of a table holds names of columns, by how it looks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from launcher.reading.files import read_rows, resolve_format
from launcher.reading.options import ReadOptions
from launcher.reading.split_reading import FIRST_ROWS
from launcher.tasks.shared.rows import Row

NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
"""What a column may be called; texts are longer, labels are often numbers."""
USUAL_NAMES = frozenset(
    (
        *("id", "idx", "index", "qid", "guid", "uid", "text", "texts", "sentence", "sentence1"),
        *("sentence2", "question", "context", "answer", "answers", "title", "body", "review"),
        *("label", "labels", "tag", "tags", "class", "category", "target", "score", "rating"),
        *("query", "document", "word", "words", "token", "tokens", "premise", "hypothesis"),
    )
)


def header_line(rows: Sequence[Row]) -> tuple[str, ...] | None:
    """The cells of the first row where they look like names of columns; None where they look like all the others.

    It may stand again, where files were put together. Some may be empty: pandas writes the numbers of rows below no name,
    Excel the columns behind a table.
    """
    first, *others = ([str(value) for value in row.values.values()] for row in rows)
    names = [name.strip() for name in first]
    given = [name for name in names if name]
    if not given or not all(map(NAME.fullmatch, given)) or len(set(given)) < len(given):
        return None
    columns = list(zip(*(cells for cells in others if cells != first[: len(cells)]), strict=False))
    if any(name and name in column for name, column in zip(first, columns, strict=False)):
        return None
    usual = any(name.lower() in USUAL_NAMES or "_" in name for name in names)
    named = [column for name, column in zip(names, columns, strict=False) if name]
    numbers = any(len(column) > 1 and all(map(_is_number, column)) for column in named)
    return tuple(names) if usual or numbers else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+", text.strip()) is not None


def header_among_rows(path: Path, options: ReadOptions) -> tuple[str, ...] | None:
    """The names in the first line of a table that is read without a header, where they look like names of columns."""
    if options.header or resolve_format(path, options) not in ("csv", "tsv"):
        return None
    # Without names every column of the line is seen, not only those that the recipe names.
    first = next(read_rows(path, replace(options, columns=None)), Row({}, 1))
    return header_line([first, *islice(read_rows(path, options), 1, FIRST_ROWS)])
