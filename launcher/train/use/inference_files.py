"""Files that are not split into a run's own data, read as the recipe reads those: for metrics and predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import tasks
from launcher.errors import Problem, RunFailed, UserError
from launcher.reading.check import bad_cells, options_for
from launcher.reading.cleaning import cleaner
from launcher.reading.files import read_rows
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Mistake, Row
from launcher.train.tokens.cache import TokenSplit

if TYPE_CHECKING:
    from launcher.train.use.inference import Predictor


def given_rows(path: Path, recipe: Recipe) -> list[Row]:
    """Rows of a file that has the recipe's texts. Raises UserError with every column that is missing, or bad cells."""
    rows = list(read_rows(path, options_for(path, recipe.data)))
    if not rows:
        raise UserError(Problem("holds no rows", where=str(path)))
    spec = tasks.of(recipe)
    _need_columns(path, rows, spec.text_columns)
    _need_cells(path, rows, recipe, spec.text_mistakes)
    return rows


def rows_to_predict(path: Path, recipe: Recipe) -> list[Row]:
    """The `given_rows` of a file that has room for the predictions. UserError where a column has the name of one."""
    rows = given_rows(path, recipe)
    taken = [name for name in tasks.of(recipe).outputs if any(name in row.values for row in rows)]
    if taken:
        raise UserError(
            Problem(f"has a column {name}, which predictions would overwrite", str(path), remedy="rename it")
            for name in taken
        )
    return rows


def labelled_split(predictor: Predictor, path: Path, recipe: Recipe) -> TokenSplit:
    """The examples of a file with labels, for `predictor.evaluate`. UserError where it has none that fit."""
    from launcher.train.dataset.prepare import encode_texts
    from launcher.train.tokens.tokenizer import position_limit

    rows = given_rows(path, recipe)
    spec = tasks.of(recipe)
    _need_columns(path, rows, spec.label_columns)
    _need_cells(path, map(cleaner(recipe), rows), recipe, spec.mistakes)
    try:
        return encode_texts(
            predictor.tokenizer,
            rows,
            recipe,
            label_names=predictor.label_names if spec.classes else (),
            name=str(path),
            position_limit=position_limit(predictor.model.config),
        )
    except RunFailed as error:
        raise UserError(error.message, error.remedy) from None  # such as a label that the model doesn't know


def _need_columns(path: Path, rows: Sequence[Row], wanted: Iterable[str]) -> None:
    columns = dict.fromkeys(name for row in rows for name in row.values)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise UserError(
            Problem(f"has no column {name}", where=str(path), remedy=f"its columns are {', '.join(columns)}")
            for name in missing
        )


def _need_cells(
    path: Path, rows: Iterable[Row], recipe: Recipe, mistakes: Callable[[Row], Iterable[Mistake]]
) -> None:
    problems = list(bad_cells(recipe, path, rows, options_for(path, recipe.data), mistakes))
    if problems:
        raise UserError(
            replace(problem, remedy=problem.remedy and "mend or remove the row") for problem in problems
        )
