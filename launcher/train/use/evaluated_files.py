"""What `launch eval --output` leaves in a directory: predictions, what is to be seen in them, and intervals of the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.reading.cleaning import cleaner
from launcher.reading.inference_files import given_rows
from launcher.runs.examination import FILE, Bootstrap, Examination
from launcher.runs.files import write_json
from launcher.runs.records import tree_of
from launcher.runs.results import Metrics
from launcher.runs.verb_results import Evaluations, SplitIntervals
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import rows_of
from launcher.train.tasks.base import Scores
from launcher.train.tokens.cache import Records, TokenSplit
from launcher.train.use.bootstrap import bootstrap
from launcher.train.use.evaluation import Progress
from launcher.train.use.examination import keep
from launcher.train.use.inference import Predictor
from launcher.train.use.predictions import in_parts, joined
from launcher.train.use.written_rows import write_rows

PREDICTIONS = "predictions.csv"


def write_evaluations(
    directory: Path,
    predictor: Predictor,
    splits: Mapping[str, TokenSplit | None],
    files: Mapping[str, Path],
    progress: Callable[[str], Progress],
    kept_in: Path,
    step: int | None,
) -> Evaluations:
    """Evaluate splits; `files` are those that no split of the recipe's is.

    A directory of the run, `kept_in`, keeps what was found of its own splits. Each split has a directory of its own, but
    for the only one of a file that was given.
    """
    found: dict[str, Metrics] = {}
    intervals: dict[str, SplitIntervals | None] = {}
    for name, split in splits.items():
        if split is None or not len(split):
            continue
        metrics, examination, scores = predictor.examine(split, name, progress(f"evaluating {name}"), step)
        drawn = _intervals(predictor, split, scores, examination, progress(f"intervals of {name}"))
        examination = replace(examination, bootstrap=drawn)
        place = directory if list(splits) == list(files) and len(splits) == 1 else directory / Path(name).name
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / FILE, tree_of(examination), 0o644)
        if name not in files:
            keep(kept_in, examination)
        rows = _rows(predictor, name, files)
        if examination.wrong is not None or examination.mistakes:
            columns = dict.fromkeys(name for row in rows for name in row.values)
            write_rows(place / PREDICTIONS, _predictions(predictor, scores, split, rows), columns)
        found[name] = metrics
        intervals[name] = None if drawn is None else SplitIntervals(drawn.method, drawn.intervals)
    return Evaluations(found, intervals, str(directory))


def _intervals(
    predictor: Predictor, split: TokenSplit, scores: Scores, examination: Examination, progress: Progress
) -> Bootstrap | None:
    if set(examination.metrics) == {"loss"}:
        return None
    task = predictor.task
    return bootstrap(task, scores, task.truth(split), seed=task.recipe.seed, progress=progress)


def _rows(predictor: Predictor, name: str, files: Mapping[str, Path]) -> list[Row]:
    recipe = predictor.task.recipe
    if name in files:
        return list(given_rows(files[name], recipe, labelled=True))
    return rows_of(recipe, predictor.task, name)


def _predictions(
    predictor: Predictor, scores: Scores, split: TokenSplit, rows: list[Row]
) -> Iterator[list[dict[str, Any]]]:
    """The columns of each row, and what the task predicts, of some of the rows at a time."""
    recipe, start = predictor.task.recipe, 0
    for part in in_parts(predictor, rows):
        some = slice(start, start := start + len(part))
        records = None if split.records is None else Records(split.records.all[some])
        found = predictor.task.decode(
            scores[some],
            predictor.label_names,
            replace(split, records=records),
            list(map(cleaner(recipe), part)),
        )
        yield [joined(recipe, row, each) for row, each in zip(part, found, strict=True)]
