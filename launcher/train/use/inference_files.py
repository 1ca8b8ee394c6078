"""Files with labels that are no part of a run's own data, made ready for evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launcher import tasks
from launcher.errors import RunFailed, UserError
from launcher.reading.inference_files import given_rows
from launcher.recipe.recipe import Recipe
from launcher.train.tokens.cache import TokenSplit

if TYPE_CHECKING:
    from launcher.train.dataset.prepare import Progress
    from launcher.train.use.inference import Predictor


def labelled_split(
    predictor: Predictor, path: Path, recipe: Recipe, progress: Progress | None = None
) -> TokenSplit:
    """The examples of a file with labels, for `predictor.evaluate`. UserError where it has none that fit."""
    from launcher.train.dataset.prepare import encode_texts

    rows = given_rows(path, recipe, labelled=True)
    try:
        return encode_texts(
            predictor.tokenizer,
            rows,
            recipe,
            label_names=predictor.label_names if tasks.of(recipe).classes else (),
            name=str(path),
            position_limit=predictor.longest,
            progress=progress,
        )
    except RunFailed as error:
        raise UserError(
            error.message, remedy=error.remedy
        ) from None  # such as a label that the model doesn't know
