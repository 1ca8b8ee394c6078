"""Using a run's best model: metrics, predictions, and a directory to give away."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.engine.attempts import taken_before
from launcher.errors import Problem, RunFailed, UserError, first_line
from launcher.planning.model_files import model_faults
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.examination import Examination
from launcher.tasks.shared.rows import Row
from launcher.train.compat.empty_weights import empty_weights
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.inputs import check_vocabulary
from launcher.train.model.precision import autocast
from launcher.train.model.unpadded import make_collate
from launcher.train.packed.collate import Collate, padded_collate
from launcher.train.process.ranks import Ranks
from launcher.train.tasks import Task, extra_head, get_task
from launcher.train.tasks.base import Scores
from launcher.train.tasks.labelled import take_own_loss
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import load_tokenizer, position_limit
from launcher.train.use.evaluation import Evaluator, Progress, no_progress
from launcher.train.use.examination import examine


@dataclass(frozen=True)
class Predictor:
    """The best model of a run on one device, ready to predict."""

    model: torch.nn.Module
    tokenizer: Any
    task: Task
    collate: Collate
    label_names: tuple[str, ...]
    device: torch.device
    precision: str

    @classmethod
    def load(
        cls, run: RunDir, recipe: Recipe, device: torch.device, directory: Path | None = None
    ) -> Predictor:
        """Load RUN/model, or another `directory`, as anyone would: plain transformers.

        Raises UserError where there is none, or none that can be used.
        """
        directory = directory or run.model
        _check_model(directory)
        tokenizer = load_tokenizer(str(directory), None)
        task = get_task(recipe, tokenizer)
        take_own_loss(task, run)
        model = _load_model(task.auto_class, directory, own=directory == run.model)
        extra_head.load(model, task.extra_head(model.config), directory)
        model = model.to(device).eval()
        names = task.names_in(model.config)
        task.recall(model.config)
        precision = recipe.precision
        if device.type == "cpu" and precision == "fp16":
            precision = "bf16"
        collate, _ = make_collate(task, tokenizer, model, device)
        taken = taken_before(run)
        if (
            taken is not None and taken.layout == "padded"
        ):  # where packing is wrong, it is so in evaluating too
            collate = padded_collate(task, tokenizer, model.config, device)
        return cls(model, tokenizer, task, collate, names, device, precision)

    @property
    def config(self) -> Any:
        """The model's."""
        return self.model.config

    @property
    def longest(self) -> int | None:
        """Tokens that the model can take, None for any number."""
        return position_limit(self.config)

    def check_tokens(self, ids: NDArray[np.int32]) -> None:
        """Raises UserError where the model has no embedding of a token."""
        try:
            check_vocabulary(ids, self.tokenizer, self.config.vocab_size)
        except RunFailed as error:
            raise UserError(error.message, remedy=error.remedy) from None

    def score(self, split: TokenSplit, progress: Progress = no_progress) -> tuple[Scores, float | None]:
        """(scores of all examples in order, mean loss where there are labels and text)."""
        self.check_tokens(split.ids)
        alone = Ranks(rank=0, local_rank=0, world_size=1, device=self.device)
        evaluator = Evaluator(self._forward, self.task, self.collate, alone, self.config)
        scored = evaluator.score(split, progress)
        assert scored.scores is not None
        return scored.scores, scored.loss

    def evaluate(self, split: TokenSplit, progress: Progress = no_progress) -> dict[str, float]:
        """`loss` and the task's metrics over a labelled split; no more than a loss of NaN where no example has text."""
        if not split.labelled:
            raise RunFailed("data", "the data have no labels to evaluate against", "use launch predict")
        return self.measured(split, *self.score(split, progress))

    def measured(self, split: TokenSplit, scores: Scores, loss: float | None) -> dict[str, float]:
        """The same, of scores that are there already."""
        if loss is None:
            return {"loss": math.nan}
        return {"loss": loss, **self.task.metrics(scores, self.task.truth(split))}

    def examine(
        self, split: TokenSplit, name: str, progress: Progress = no_progress, step: int | None = None
    ) -> tuple[dict[str, float], Examination, Scores]:
        """What `evaluate` finds, what else there is to see, and the scores."""
        if not split.labelled:
            raise RunFailed("data", "the data have no labels to evaluate against", "use launch predict")
        scores, loss = self.score(split, progress)
        metrics = self.measured(split, scores, loss)
        if loss is None:
            return metrics, Examination(name, len(split), {"loss": None}, step), scores
        names = self.label_names
        return metrics, examine(self.task, self.tokenizer, scores, split, name, metrics, names, step), scores

    def predict(
        self, split: TokenSplit, rows: Sequence[Row], progress: Progress = no_progress
    ) -> list[dict[str, Any]]:
        """`{prediction, probabilities}` of each example, in order; `rows` are what `split` was made of."""
        scores, _ = self.score(split, progress)
        return self.task.decode(scores, self.label_names, split, rows)

    def _forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        with autocast(self.precision, self.device):
            return self.model(**inputs)


def best_device(recipe: Recipe) -> torch.device:
    """The GPU, unless there is none or the recipe says cpu."""
    return torch.device("cuda" if torch.cuda.is_available() and recipe.device != "cpu" else "cpu")


def export_model(run: RunDir, target: Path) -> Path:
    """Copy the best model, adapters merged, as a plain Hugging Face directory: there whole or not at all.

    Raises UserError where there is no model, or where `target` can't be made.
    """
    _check_model(run.model)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError("exists already", where=str(target), remedy="give another --output")
    staging = target.with_name(f".{target.name}.new")

    try:
        shutil.rmtree(staging, ignore_errors=True)
        _refuse_devices(run.model)
        _copy(run.model, staging)
        staging.rename(target)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(f"can't be written: {error.strerror or error}", where=str(target)) from None
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy a model but its adapter, with the modes that the umask leaves: in a run files are their owner's alone."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_file():
            shutil.copyfile(path, target / path.name)
        elif path.name != "adapter":
            _copy(path, target / path.name)


def _check_model(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        remedy = "a model appears after the first evaluation"
        raise UserError("has no model yet", where=str(directory.parent), remedy=remedy)
    if faults := model_faults(str(directory), weights=True):
        raise UserError([Problem(it.message, str(directory), remedy=it.remedy) for it in faults])


def _refuse_devices(directory: Path) -> None:
    """Raises UserError for what could be read for ever: a pipe, or a link to a device."""
    odd = next((path for path in directory.rglob("*") if not path.is_file() and not path.is_dir()), None)
    if odd is not None:
        raise _damaged(odd, "is not a regular file")


def _load_model(auto_class: str, directory: Path, *, own: bool) -> Any:  # a PreTrainedModel
    """The model of a directory; UserError where it can't be read, or where the run's `own` lacks weights."""
    import transformers

    try:
        with without_expected_warnings(), empty_weights():
            model, report = getattr(transformers, auto_class).from_pretrained(
                directory, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # whatever a damaged file makes of the libraries that read it
        raise _damaged(directory, f"the model can't be loaded: {first_line(error)}") from error
    if own and (missing := sorted(report["missing_keys"])):
        raise _damaged(directory, f"the model lacks {len(missing)} weights, such as {missing[0]}")
    return model


def _damaged(directory: Path, message: str) -> UserError:
    remedy = "bring back a whole copy of it, or train again"
    return UserError(message, str(directory), remedy=remedy)
