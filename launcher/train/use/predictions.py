"""Predictions for rows and for texts, as `launch predict` and `launcher.Run.predictor()` give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from launcher import tasks
from launcher.errors import Problem, UserError
from launcher.loading.resolve import read_recipe_file
from launcher.reading.cleaning import cleaner, in_given
from launcher.reading.nested import dotted_names, without_reached
from launcher.runs.directory import RunDir
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts
from launcher.train.use.evaluation import Progress, no_progress
from launcher.train.use.inference import Predictor, best_device


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
    predictions = predictor.predict(split, mended, told("predicting"))
    assert all(set(found) == set(tasks.of(recipe).outputs) for found in predictions)
    dotted = dotted_names(recipe.data)
    return [
        {**without_reached(row.values, dotted), **in_given(recipe, row, found)}
        for row, found in zip(rows, predictions, strict=True)
    ]


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
            raise UserError(
                Problem(f"takes texts, and got a {type(other).__name__}", "predictor", remedy=remedy)
            )
        found = predict_rows(self._predictor, self._task.rows_of(texts), "the texts given")
        return [{name: row[name] for name in self._task.outputs} for row in found]
