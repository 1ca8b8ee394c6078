"""One record of the data, as every format gives it."""

from __future__ import annotations

from typing import Any, NamedTuple

Value = str | int | float | list[Any] | None
"""What a cell may hold: text formats give strings, the others what was written."""


class Row(NamedTuple):
    """One record: its cells by column, and where it stands."""

    values: dict[str, Value]
    position: int
    """Line in the file (csv, tsv, jsonl, txt; the first of a sentence in conll) or number of the record (json,
    parquet) or question (squad), from 1."""
