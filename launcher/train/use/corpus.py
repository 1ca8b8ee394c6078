"""The texts that evaluation searches, beside those of the split that is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.errors import RunFailed, UserError
from launcher.reading.corpus import document_rows
from launcher.train.dataset.prepare import encode_texts
from launcher.train.tasks import Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import position_limit


def corpus_of(task: Task, config: Any, progress: Callable[[int, int], None]) -> TokenSplit | None:
    """The task's corpus for a model of this configuration, read when it is first asked for; None where it has none.

    `progress` hears how many documents are tokenised. Raises RunFailed of class `data`.
    """
    if task.corpus is None and task.spec.corpus is not None:
        recipe, path = task.recipe, Path(task.spec.corpus)
        try:
            rows = list(document_rows(path, recipe))
        except UserError as error:
            raise RunFailed("data", str(error)) from None
        task.corpus = encode_texts(
            task.tokenizer,
            rows,
            recipe,
            name=str(path),
            position_limit=position_limit(config),
            progress=progress,
        )
    return task.corpus
