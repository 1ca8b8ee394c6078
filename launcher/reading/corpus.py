"""A corpus: a file of documents that something is looked for in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launcher import tasks
from launcher.errors import UserError
from launcher.reading.data_section import options_for
from launcher.reading.files import peek, read_rows
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row


def documents(path: Path, recipe: Recipe) -> list[str]:
    """The texts of a corpus, each once, as `key_of` tells them apart.

    Raises UserError as `document_rows` does, and where there is no text.
    """
    column = tasks.of(recipe).given_texts[-1]
    cells = (str(row.values.get(column) or "").strip() for row in document_rows(path, recipe))
    found: dict[str, str] = {}
    for text in filter(None, cells):
        found.setdefault(key_of(text), text)
    if not found:
        raise UserError("holds no documents", str(path))
    return list(found.values())


def key_of(text: str) -> str:
    """The same for texts that differ in case and blanks alone."""
    return " ".join(text.casefold().split())


def document_rows(path: Path, recipe: Recipe) -> Iterator[Row]:
    """The documents of a corpus as rows of the recipe's last column of text: those of this column, or of the only one there is.

    Raises UserError where the file has neither.
    """
    column, wanted = check_corpus(path, recipe), tasks.of(recipe).given_texts[-1]
    for row in read_rows(path, options_for(path, recipe.data)):
        yield Row({wanted: row.values.get(column)}, row.position)


def check_corpus(path: Path, recipe: Recipe) -> str:
    """The column of the documents, by the first rows. Raises UserError where there is none."""
    columns, wanted = peek(path, options_for(path, recipe.data)).columns, tasks.of(recipe).given_texts[-1]
    if len(columns) == 1 or wanted in columns:
        return wanted if wanted in columns else columns[0]
    text = f"has no column {wanted!r} with the documents: it has {', '.join(map(repr, columns))}"
    raise UserError(text, str(path), remedy=f"rename the column of the documents to {wanted}")
