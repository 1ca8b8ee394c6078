"""One record of the data, as every format gives it, and what may be wrong with its cells."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from launcher.visible import shortened

Value = str | int | float | list[Any] | dict[str, Any] | None
"""What a cell may hold: text formats give strings, the others what was written."""


class Row(NamedTuple):
    """One record: its cells by column, and where it stands."""

    values: dict[str, Value]
    position: int
    """Line in the file (csv, tsv, jsonl, txt; the first of a sentence in conll) or number of the record (json,
    parquet) or question (squad), from 1."""


FileRow = tuple[str, Row]
"""A row with the name of its file."""
HEADER_AGAIN = "is the header again, as where files were put together with theirs"


def is_header(row: Row) -> bool:
    """Whether each of several cells holds the name of its column, perhaps behind the byte order mark of a second file."""
    for name, value in row.values.items():  # for each row: a generator takes twice as long
        if not isinstance(value, str) or value.strip("\ufeff ") != name:
            return False
    return len(row.values) > 1


class Mistake(NamedTuple):
    """What is wrong with one cell of a row."""

    key: str
    """`data.text`, `data.choices` or `data.label`: the key that names the column."""
    column: str
    message: str
    offset: int = 0
    """Words before the one that is wrong; in CoNLL columns that many lines below the row's first."""


def text_mistake(value: object) -> str | None:
    """What is wrong with a cell of text, None where it is a text, a number or empty."""
    if isinstance(value, dict) and value.get("type") == "bytes":
        return "the cell holds bytes that are no UTF-8 text"
    if isinstance(value, list | dict):
        return f"the cell is not a text but a list or object{reached(value)}"
    if isinstance(value, bool):
        return f"the cell holds {str(value).lower()}, which is no text"
    if isinstance(value, float) and not math.isfinite(value):
        return f"the cell holds {value}, which is no text"
    return None


def reached(value: object) -> str:
    """How to name what lies in an object, as the end of a sentence; nothing for other cells."""
    return (
        f"; dotted names reach into it, such as COLUMN.{next(iter(value))}"
        if value and isinstance(value, dict)
        else ""
    )


def shown(value: object) -> str:
    """A cell as messages show it."""
    text = "an empty cell" if value is None or value == "" else repr(value)
    return shortened(text, 60)
