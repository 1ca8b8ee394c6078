"""What W&B shows of the best model beside its curves: tables of classes and mistakes, the confusion matrix, the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.runs.best_model import step_of
from launcher.runs.directory import RunDir
from launcher.runs.examination import Confusion, Examination

MOST_SHOWN = 50
"""Classes of a confusion matrix there: it has a row for each pair."""


def tables(wandb: Any, directory: Path, *, mistakes: bool) -> dict[str, Any]:
    """Tables and charts of a run's `evaluated/` by name; with `mistakes` the texts of the worst ones, too."""
    try:
        found = RunDir(directory).read_examinations()
    except UserError:  # damaged: curves are no worse for it
        return {}
    return {name: shown for each in found for name, shown in _of_split(wandb, each, mistakes=mistakes)}


def _of_split(wandb: Any, found: Examination, *, mistakes: bool) -> Iterator[tuple[str, Any]]:
    split = "eval" if found.split == "validation" else found.split
    if found.classes:
        columns = ["class", "precision", "recall", "f1", "support", "predicted"]
        rows = [[it.name, it.precision, it.recall, it.f1, it.support, it.predicted] for it in found.classes]
        yield f"{split}/classes", table_of(wandb, columns, rows)
    if found.confusion is not None and len(found.confusion.names) <= MOST_SHOWN:
        yield f"{split}/confusion", _confusion(wandb, found.confusion, found.split)
    if mistakes and found.mistakes:
        columns = ["text", "expected", "predicted", "confidence"]
        rows = [[" | ".join(it.text), it.expected, it.predicted, it.confidence] for it in found.mistakes]
        yield f"{split}/mistakes", table_of(wandb, columns, rows)


def table_of(wandb: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A table, row by row: to see whether rows at once are a DataFrame, wandb would import pandas, 0.3 s."""
    table = wandb.Table(columns=list(columns))
    for row in rows:
        table.add_data(*row)
    return table


def _confusion(wandb: Any, found: Confusion, split: str) -> Any:
    """As wandb.plot.confusion_matrix draws it, which takes every example instead of counts."""
    rows = [
        [actual, predicted, count]
        for actual, counts in zip(found.names, found.counts, strict=True)
        for predicted, count in zip(found.names, counts, strict=True)
    ]
    columns = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        table_of(wandb, columns, rows),
        {name: name for name in columns},
        {"title": f"{split}: {found.of}"},
    )


def send_model(wandb: Any, run: Any, directory: Path) -> None:
    """The best model as a version of the artifact RUN-model; the same files are the same version."""
    model = RunDir(directory).model
    if not (model / "config.json").is_file():
        return
    artifact = wandb.Artifact(f"{directory.name}-model", type="model", metadata={"step": step_of(model)})
    artifact.add_dir(str(model), skip_cache=True, policy="immutable")
    run.log_artifact(artifact, aliases=["best"])
