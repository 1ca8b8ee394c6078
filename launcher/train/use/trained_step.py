"""The examples that a step of a run was made of: the order of data is a function of seed and epoch, and can be had again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.planning.plan import step_counts
from launcher.planning.run_data import recipe_of_step
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.provenance import DataUsed
from launcher.runs.verb_results import TrainedExample, TrainedStep
from launcher.train.dataset.prepare import Dataset, rows_of
from launcher.train.inputs import prepare_dataset, tokenizer_for
from launcher.train.packed.groups import examples_of_step
from launcher.train.tasks import Task, get_task
from launcher.train.tokens.cache import TokenSplit


def examples_of(run: RunDir, step: int, progress: Callable[[int, int], None]) -> TrainedStep:
    """The examples of a step in their order.

    Raises UserError where the run has no such step, or its data are no longer those that it trained on.
    """
    recipe, used = recipe_of_step(run, step)
    tokenizer = tokenizer_for(recipe)
    dataset = prepare_dataset(recipe, tokenizer, progress)
    _refuse_changed(run, used, dataset)
    train, task = dataset.train, get_task(recipe, tokenizer)
    per_epoch = step_counts(recipe, len(train))[0]
    ids = examples_of_step(step, len(train), recipe.seed, recipe.batch.global_, task.groups(train))
    rows = _rows(recipe, task, dataset)
    examples = [
        TrainedExample(
            int(each),
            tuple(_texts(train, int(each), tokenizer)),
            int(train.lengths[each]),
            *(rows[each] if rows else ()),
        )
        for each in ids
    ]
    return TrainedStep(step, (step - 1) // per_epoch, tuple(examples))


def _refuse_changed(run: RunDir, used: DataUsed, dataset: Dataset) -> None:
    if dataset.fingerprint != used.fingerprint:
        then, now = used.examples["train"], len(dataset.train)
        counts = (
            f"{then} examples then, {now} now" if then != now else f"{now} examples, but not the same ones"
        )
        reason = f"the data, or what reads them, are not those that it trained on: {counts}"
        remedy = f"restore the files; launch diff {run.run_id} RUN says what changed since another run"
        raise UserError(reason, where=run.run_id, remedy=remedy)


def _rows(recipe: Recipe, task: Task, dataset: Dataset) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Place and values of each training example, where an example is a row; else None: texts may be cut or altered."""
    rows = rows_of(recipe, task, "train")
    train = dataset.train
    if len(rows) != len(train) or train.sequences is not None or recipe.data.augment.any:
        return None
    files = recipe.data.train
    file = Path(files).name if isinstance(files, str) else None
    return [(f"{file}:{row.position}" if file else f"row {row.position}", row.values) for row in rows]


def _texts(split: TokenSplit, example: int, tokenizer: Any) -> Iterator[str]:
    """What the model sees of an example, text by text: a sequence is cut at the tokens that separate its texts."""
    first, last = (
        (example, example + 1) if split.sequences is None else split.sequences[example : example + 2]
    )
    for sequence in range(int(first), int(last)):
        ids = split.ids[split.offsets[sequence] : split.offsets[sequence + 1]].tolist()
        part: list[int] = []
        for token in [*ids, tokenizer.sep_token_id]:
            if token != tokenizer.sep_token_id:
                part.append(token)
                continue
            if text := tokenizer.decode(part, skip_special_tokens=True).strip():
                yield text
            part = []
