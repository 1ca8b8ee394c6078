"""Sentences in columns (CoNLL, BIO and IOB2 files): a line for each word, an empty line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.reading.textfiles import lines, mistake

BLANKS = re.compile(r"[ \t]+")
"""What separates columns; no other space of Unicode, since a Chinese text may have an ideographic one as a word."""
BETWEEN_DOCUMENTS = "-DOCSTART-"


def sentences(
    path: Path, names: Sequence[str] | None, delimiter: str | None
) -> Iterator[tuple[dict[str, Any], int]]:
    """Each sentence as {column: strings by word}, and the line of its first word.

    Without `names` the first column is `text`, the last `label`, those between `column2`, `column3`, ... Raises
    UserError at a line that hasn't as many columns as the first.
    """
    extra_is_fine = names is not None
    for inside, group in groupby(lines(path), key=lambda numbered: _is_word(numbered[1])):
        if not inside:
            continue
        words = [(number, _fields(line, delimiter)) for number, line in group]
        names = names or default_names(len(words[0][1]))
        for number, fields in words:
            if len(fields) != len(names) and not (extra_is_fine and len(fields) > len(names)):
                raise _ragged(path, number, fields, names)
        columns = ([fields[column] for _, fields in words] for column in range(len(names)))
        yield dict(zip(names, columns, strict=True)), words[0][0]


def default_names(width: int) -> tuple[str, ...]:
    """Names of `width` columns: text first, label last."""
    if width == 1:
        return ("text",)
    return ("text", *(f"column{number}" for number in range(2, width)), "label")


def _ragged(path: Path, number: int, fields: Sequence[str], names: Sequence[str]) -> UserError:
    text = f"columns: {len(fields)}, but {len(names)} expected ({', '.join(names)})"
    remedy = (
        "mend the line, or set data.delimiter if columns are separated by one character; "
        "data.columns=[...] if only the first columns matter"
    )
    return mistake(path, number, text, remedy)


def _is_word(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(BETWEEN_DOCUMENTS)


def _fields(line: str, delimiter: str | None) -> list[str]:
    return BLANKS.split(line.strip(" \t")) if delimiter is None else line.split(delimiter)
