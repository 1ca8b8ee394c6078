"""Sentences of Universal Dependencies (CoNLL-U): ten columns, comments, multiword tokens and empty nodes.

The format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from launcher.reading.messages import mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import lines
from launcher.tasks.shared.rows import Row

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def rows(path: Path, options: ReadOptions) -> Iterator[Row]:
    """Each sentence as {column: strings by word}, at the line of its first word.

    Words are those with a whole number for their id: neither the lines of multiword tokens (`3-4`) nor those of
    empty nodes (`8.1`).
    """
    names = options.columns or COLUMNS
    if len(names) != len(COLUMNS):
        text = f"CoNLL-U has {len(COLUMNS)} columns, and data.columns names {len(names)}"
        raise mistake(path, None, text, "leave data.columns out: they are form, upos, feats and so on")
    for inside, group in groupby(lines(path), key=lambda line: bool(line[1].strip())):
        words = [(number, _fields(path, number, line)) for number, line in group if inside and line[0] != "#"]
        words = [(number, fields) for number, fields in words if fields[0].isdecimal()]
        if words:
            columns = zip(*(fields for _, fields in words), strict=True)
            yield Row({name: list(cells) for name, cells in zip(names, columns, strict=False)}, words[0][0])


def _fields(path: Path, number: int, line: str) -> list[str]:
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        text = f"columns: {len(fields)}, but CoNLL-U has {len(COLUMNS)}, separated by tabs"
        raise mistake(path, number, text, "mend the line, or data.format=conll for other columns of words")
    if not fields[0].replace("-", "").replace(".", "").isdecimal():
        text = f"{fields[0]!r} is no id of a word (1, 3-4 or 8.1)"
        raise mistake(path, number, text, "mend the line, or data.format=conll for other columns of words")
    return fields
