"""The texts that evaluation searches, beside those of the split that is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher.errors import RunFailed, UserError
from launcher.reading.data_section import options_for
from launcher.reading.files import read_rows
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts
from launcher.train.tasks import Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import position_limit


def corpus_of(task: Task, config: Any) -> TokenSplit | None:
    """The task's corpus for a model of this configuration, read when it is first asked for; None where it has none.

    Raises RunFailed of class `data`.
    """
    if task.corpus is None and task.spec.corpus is not None:
        recipe, path = task.recipe, Path(task.spec.corpus)
        rows, limit = _rows(task, path), position_limit(config)
        task.corpus = encode_texts(task.tokenizer, rows, recipe, name=str(path), position_limit=limit)
    return task.corpus


def _rows(task: Task, path: Path) -> list[Row]:
    """The rows of the file with the column that is searched alone."""
    column = task.spec.given_texts[-1]
    try:
        found = list(read_rows(path, options_for(path, task.recipe.data)))
    except UserError as error:
        raise RunFailed("data", str(error)) from None
    return [Row({column: row.values.get(column)}, row.position) for row in found]
