"""Predictions for rows and for texts, as `launch predict` and `launcher.Run.predictor()` give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from launcher import tasks
from launcher.errors import UserError
from launcher.loading.resolve import read_recipe_file
from launcher.reading.cleaning import cleaner, in_given
from launcher.reading.nested import dotted_names, without_reached
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts
from launcher.train.use.evaluation import Progress, no_progress
from launcher.train.use.inference import Predictor, best_device

PREDICTING = "predicting"
MOST_ROWS = 16_384
MOST_CHARACTERS = 1 << 24
MOST_CHANCES = 1 << 21
"""Rows that are predicted before any of them is written, characters of their texts, and probabilities by name."""


def predict_in_parts(
    predictor: Predictor, rows: Iterable[Row], name: str, count: int, told: Callable[[str], Progress]
) -> Iterator[list[dict[str, Any]]]:
    """`predict_rows` of `count` rows in their order, as many at a time as can be held whatever the file.

    A task that predicts a row by the others has them all at once. Raises UserError where they are not `count` in the end.
    """
    done = 0
    for part in in_parts(predictor, rows):
        yield predict_rows(predictor, part, name, partial(_told_of_all, told, done, count))
        done += len(part)
    if done != count:
        raise UserError("was changed while its rows were predicted", name, remedy="start again")


def _told_of_all(told: Callable[[str], Progress], before: int, count: int, phase: str) -> Progress:
    """Progress in a part behind `before` rows, told as that in all of them; after the first part in one phase alone."""
    if before and phase != PREDICTING:
        return no_progress
    tell = told(phase)
    return lambda done, _: tell(before + done, count)


def in_parts(predictor: Predictor, rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in their order, as many together as there is room for what is predicted of them."""
    part, share = list[Row](), 0.0
    for row in rows:
        part.append(row)
        share += _share(predictor, row)
        if share >= 1 and predictor.task.by_row:
            yield part
            part, share = [], 0.0
    if part:
        yield part


def _share(predictor: Predictor, row: Row) -> float:
    """What a row takes of the room for a part."""
    spec = predictor.task.spec
    texts = (row.values.get(column) for column in spec.text_columns)
    characters = sum(len(text if isinstance(text, str) else str(text)) for text in texts)
    chances = len(predictor.label_names) * (characters if spec.words else 1)
    return max(1 / MOST_ROWS, characters / MOST_CHARACTERS, chances / MOST_CHANCES)


def predict_rows(
    predictor: Predictor,
    rows: Sequence[Row],
    name: str,
    told: Callable[[str], Progress] = lambda _: no_progress,
) -> list[dict[str, Any]]:
    """The columns of each row, and those that the task predicts; `name` is what mistakes call the rows' place.

    `told(phase)` is what hears how far each phase has come, in rows and then in examples.
    """
    recipe = predictor.task.recipe
    split = encode_texts(
        predictor.tokenizer,
        rows,
        recipe,
        name=name,
        position_limit=predictor.longest,
        progress=told("tokenising"),
    )
    mended = list(map(cleaner(recipe), rows))  # as those that were encoded
    predictions = predictor.predict(split, mended, told(PREDICTING))
    assert all(set(found) == set(tasks.of(recipe).outputs) for found in predictions)
    return [joined(recipe, row, found) for row, found in zip(rows, predictions, strict=True)]


def joined(recipe: Recipe, row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """A row's columns as they stand in its file, and what was predicted of it."""
    return {**without_reached(row.values, dotted_names(recipe.data)), **in_given(recipe, row, found)}


class TextPredictor:
    """The best model of a run, loaded once, for texts of this process."""

    def __init__(self, run: RunDir) -> None:
        recipe = read_recipe_file(run.recipe)
        self._task = tasks.of(recipe)
        self._predictor = Predictor.load(run, recipe, best_device(recipe))

    def __call__(self, *texts: str) -> list[dict[str, Any]]:
        """`{prediction, probabilities, ...}` for each text; of tasks about pairs, for each two of them.

        Raises UserError where the number of texts doesn't fit, or one is a list or no text.
        """
        given: tuple[object, ...] = texts
        if (other := next((each for each in given if not isinstance(each, str)), None)) is not None:
            remedy = "give them one after the other, of a list as predictor(*texts)"
            raise UserError(f"takes texts, and got a {type(other).__name__}", "predictor", remedy=remedy)
        found = predict_rows(self._predictor, self._task.rows_of(texts), "the texts given")
        return [{name: row[name] for name in self._task.outputs} for row in found]
