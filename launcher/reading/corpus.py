"""A corpus: a file of documents that something is looked for in."""

from __future__ import annotations

from pathlib import Path

from launcher import tasks
from launcher.errors import UserError
from launcher.reading.data_section import options_for
from launcher.reading.files import read_rows
from launcher.recipe.recipe import Recipe


def documents(path: Path, recipe: Recipe) -> list[str]:
    """The texts of a corpus, each once: those of the recipe's last column of text, or of the only column there is.

    Raises UserError where the file has neither, or no text.
    """
    rows = list(read_rows(path, options_for(path, recipe.data)))
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    wanted = tasks.of(recipe).given_texts[-1]
    column = columns[0] if len(columns) == 1 else wanted
    if rows and column not in columns:
        text = f"has no column {wanted!r} with the documents: it has {', '.join(map(repr, columns))}"
        raise UserError(text, str(path), remedy=f"rename the column of the documents to {wanted}")
    cells = (str(row.values.get(column) or "").strip() for row in rows)
    found = list(dict.fromkeys(filter(None, cells)))
    if not found:
        raise UserError("holds no documents", str(path))
    return found
