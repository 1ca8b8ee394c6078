"""Files that are not split into a run's own data, read as the recipe reads those: for metrics and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.columns import text_columns
from launcher.datacheck import files, read_options
from launcher.datafiles import ReadOptions, Row, read_rows
from launcher.errors import Problem, UserError
from launcher.recipe import Recipe
from launcher.train.token_cache import TokenSplit

if TYPE_CHECKING:
    from launcher.train.inference import Predictor


def given_rows(path: Path, recipe: Recipe) -> Iterator[Row]:
    """Rows of a file that has the recipe's text columns. Raises UserError with every column that is missing."""
    count = 0
    for row in read_rows(path, _options_for(path, recipe)):
        if count == 0:
            missing = [column for column in text_columns(recipe) if column not in row.values]
            if missing:
                columns = ", ".join(row.values)
                raise UserError(
                    Problem(f"has no column {name}", where=str(path), remedy=f"its columns are {columns}")
                    for name in missing
                )
        count += 1
        yield row
    if count == 0:
        raise UserError(Problem("holds no rows", where=str(path)))


def labelled_split(predictor: Predictor, path: Path, recipe: Recipe) -> TokenSplit:
    """The examples of a file with labels, for `predictor.evaluate`."""
    from launcher.train.data import encode_texts
    from launcher.train.tokenizer import position_limit

    return encode_texts(
        predictor.tokenizer,
        given_rows(path, recipe),
        recipe,
        label_names=() if recipe.task == "regression" else predictor.label_names,
        name=str(path),
        position_limit=position_limit(predictor.model.config),
    )


def _options_for(path: Path, recipe: Recipe) -> ReadOptions:
    """As the training file was read where this one is named alike; otherwise as its own extension says."""
    trained_on = files(recipe.data.train)
    if trained_on and trained_on[0].suffix == path.suffix:
        return read_options(recipe.data)
    return ReadOptions()
