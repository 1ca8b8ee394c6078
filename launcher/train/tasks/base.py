"""What a task computes: head, loss, scores and decoding. What it says of its data and metrics is its specification.

A task is one file in this package holding a class `TASK` made from the recipe; `get_task` finds it by its name there, and the
specification by the same name in `launcher.tasks`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import FileRow, Row
from launcher.train.reading.sources import Source, text_of
from launcher.train.reading.targets import label_names_of, numbered, read_labels
from launcher.train.tasks.losses import softened_divergence, symmetric_divergence
from launcher.train.tasks.outcomes import Outcomes
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.encoder import Encoder, Tokens
from launcher.train.tokens.gather import EVALUATION, Gathered, Indices, gather
from launcher.train.tokens.masking import IGNORE

Array = NDArray[Any]
Scores = Array | list[Any]
"""One item for each example: the first axis of an array, or a list where they differ in shape."""


@dataclass(frozen=True)
class MicroBatch:
    """Examples that go through the model together, on its device."""

    inputs: dict[str, torch.Tensor]
    """What the model's forward takes: input_ids, (sequences, tokens) or (1, tokens) where packed, and what goes with it."""
    labels: torch.Tensor | None
    """Labels as the task defines them, examples first; None where there are none."""
    tokens: int
    """Real tokens, padding not counted."""
    lengths: NDArray[np.int64] | None = None
    """(sequences,) tokens of each sequence."""
    sequences: NDArray[np.int64] | None = None
    """(examples,) sequences of each example; None: one each."""
    rows: NDArray[np.int64] | None = None
    """(examples,) how many of the tokens below belong to each example."""
    marks: torch.Tensor | None = None
    """(tokens,) or (tokens, k) marks of the real tokens, or of the selected ones, one sequence after another."""
    real: torch.Tensor | None = None
    """Where padded: places of those tokens among (sequences * width); None where packed."""
    labelled: bool = True
    """Whether there is a loss."""

    @property
    def positions(self) -> int:
        """Positions that the model computes: the real tokens, and those that fill up rows."""
        return self.inputs["input_ids"].numel()

    def token_rows(self, logits: torch.Tensor) -> torch.Tensor:
        """(tokens, L) float32 logits of the tokens that `marks` speaks of; `logits` are (1 or sequences, tokens, L)."""
        rows = logits.reshape(-1, logits.shape[-1])
        return (rows if self.real is None else rows.index_select(0, self.real)).float()


@dataclass(frozen=True)
class Resampling:
    """What a bootstrap draws, and what it computes of each draw."""

    units: int
    metrics: Callable[[Indices], Mapping[str, float]]
    """Metrics of the units of these numbers, which may come several times."""
    of: str = "examples"


class Task:
    """One kind of thing that an encoder learns to do; the defaults are those of one label for each text."""

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    """Name of the transformers class that builds encoder and head."""
    peft_type: ClassVar[str | None] = "SEQ_CLS"
    """peft's name for the task; None where it has none, or one whose model doesn't pass all inputs on."""
    ready_head: ClassVar[bool] = False
    """Whether the head comes with the model, so that adapters are trained without it."""

    by_row: ClassVar[bool] = True
    """Whether what is predicted of a row depends on no other row."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Modules of the model that nobody reads: they don't train."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        self.recipe = recipe
        self.spec = tasks.of(recipe)
        self.tokenizer = tokenizer
        self.corpus: TokenSplit | None = None
        """What evaluation scores behind the examples of a split, once it has been read, where there is anything."""

    # From rows to tokens

    def targets(self, source: Source) -> list[Any]:
        """What is to be predicted for every row; RunFailed naming the first rows where it can't be."""
        return read_labels(self.recipe, source)

    def label_names(self, train: Source, targets: Sequence[Any]) -> tuple[str, ...]:
        """The classes of the training data by number; none where there are no classes."""
        return label_names_of(self.recipe, train, targets)

    def labels(self, source: Source, targets: Sequence[Any], names: tuple[str, ...]) -> Array | None:
        """(n, ...) labels by example, or None where the marks of the tokens say it all."""
        return (
            numbered(self.recipe, source, targets, names)
            if self.spec.classes
            else np.array(targets, np.float32)
        )

    def strata(self, labels: Array | None) -> NDArray[np.int64] | None:
        """(n,) class of each example where a split is to keep their proportions."""
        return None

    def encode(
        self, encoder: Encoder, rows: Sequence[FileRow], targets: Sequence[Any] | None, names: tuple[str, ...]
    ) -> Tokens:
        """Tokens of rows, each with the name of its file; without `targets` there is nothing to learn from them."""
        columns = self.spec.text_columns
        texts = [
            tuple(text_of(row.values.get(column), name, row) for column in columns) for name, row in rows
        ]
        empty = sum(not any(parts) for parts in texts)
        plain: Sequence[Any] = texts if len(columns) == 2 else [parts[0] for parts in texts]
        if self.recipe.data.windows is None:
            return encoder.encode(plain, empty)
        return encoder.tokens(encoder.windows(plain, self.recipe.data.stride), empty)

    def gather(self, split: TokenSplit, examples: Indices, epoch: int) -> Gathered:
        """Tokens and marks of these examples as they go into a micro-batch; a pure function of its arguments."""
        return gather(split, examples)

    # The model

    def head_config(self, label_names: Sequence[str]) -> dict[str, Any]:
        """Entries of the model's configuration that shape the head."""
        return named_classes(label_names) if self.spec.classes else {}

    def names_in(self, config: Any) -> tuple[str, ...]:
        """The classes by number, out of the configuration of a model that was saved; none for a task without classes."""
        if not self.spec.classes:
            return ()
        return tuple(config.id2label[index] for index in sorted(config.id2label))

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        """Learn from the training labels what the loss needs; called once, before the model is made."""

    def tune(self, scores: Scores, truth: Any) -> None:
        """Choose on the validation split what turns scores into predictions, where the task leaves that open."""

    def remembered(self) -> dict[str, Any]:
        """What `fit` and `tune` have found, as entries of the model's configuration."""
        return {}

    def recall(self, config: Any) -> None:
        """Take up what was `remembered` when this model was trained."""

    def extra_head(self, config: Any) -> torch.nn.Module | None:
        """Parameters that the task needs besides encoder and linear head; `extra_head.attach` says how they are called."""
        return None

    def check_model(self, config: Any) -> None:
        """Raise RunFailed('recipe') where the recipe asks for what this model hasn't got."""

    def further_files(self, config: Any, longest: int) -> dict[str, Any]:
        """JSON files of a saved model beside those of transformers: path -> content; texts are cut to `longest` tokens."""
        return {}

    def watch(self, model: Any) -> None:
        """Look on while `model`, the transformers model that trains, computes, where the loss needs more than its output."""

    def model_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The micro-batch's inputs as this kind of model wants them."""
        return inputs

    # Loss and metrics

    def has_terms(self, tokens: Tokens) -> bool:
        """Whether there is any loss term in these examples."""
        return True

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        """Number of loss terms in these examples: what the loss is averaged over."""
        return float(len(examples))

    def groups(self, split: TokenSplit) -> NDArray[Any] | None:
        """(n,) the same number for all examples that the loss compares with each other; None where each counts by itself.

        They go through the model together: no layout cuts them apart.
        """
        return None

    def logits(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(examples, L) float32 logits, pooled over the windows of an example where there are several."""
        logits: torch.Tensor = output.logits.float()
        if self.recipe.data.windows is None or batch.sequences is None:
            return logits
        return torch.stack([self.pooled(part) for part in torch.split(logits, batch.sequences.tolist())])

    def pooled(self, windows: torch.Tensor) -> torch.Tensor:
        """(L,) logits of a text from those of its windows (w, L)."""
        pool = torch.amax if self.recipe.data.windows == "max" else torch.mean
        return pool(windows, dim=0)

    def check_metrics(self, validation: TokenSplit) -> None:
        """Raise RunFailed('data') where a metric that the recipe names says nothing of the validation split."""

    def nothing_to_measure(self, split: str) -> RunFailed:
        """The failure of a run whose validation examples have no loss term."""
        return nothing_to_measure(split)

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """Sum, not mean, of the loss terms of the micro-batch; float32 scalar. `output` is what the model returns."""
        raise NotImplementedError

    @property
    def whole_batch(self) -> bool:
        """Whether a loss term depends on other examples of the global batch, through their `vectors`."""
        return False

    def vectors(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(sequences, d) float32 vectors that the loss of a whole batch compares."""
        raise NotImplementedError

    def joint_terms(self, vectors: torch.Tensor, split: TokenSplit, examples: Indices) -> torch.Tensor:
        """(n,) loss terms of examples of a split, from the vectors of all their sequences in order."""
        raise NotImplementedError

    def agreeing_loss_sum(self, first: Any, second: Any, batch: MicroBatch, alpha: float) -> torch.Tensor:
        """The loss of R-Drop from two passes with different dropout, summed as in `loss_sum`.

        The mean of the two losses, and alpha times the divergence of what they come from (Liang et al., 2021).
        """
        both = 0.5 * (self.loss_sum(first, batch) + self.loss_sum(second, batch))
        return both + alpha * self.divergence_sum(first, second, batch)

    def divergence_sum(self, first: Any, second: Any, batch: MicroBatch) -> torch.Tensor:
        """How much two passes differ in what they decide, 0 where they agree; float32 scalar."""
        return self.weigh(
            symmetric_divergence(self.decided(first, batch), self.decided(second, batch)), batch
        )

    def taught_sum(self, student: Any, teacher: Any, batch: MicroBatch, temperature: float) -> torch.Tensor:
        """How far a pass is from what a teacher decides (Hinton et al., 2015), 0 where it does alike; float32 scalar."""
        decided = self.decided(student, batch), self.decided(teacher, batch)
        return self.weigh(softened_divergence(*decided, temperature), batch)

    def decided(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        """(..., L) float32 logits of the choices that the loss is about, -inf where there is nothing to choose."""
        raise NotImplementedError

    def weigh(self, differences: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
        """Add up differences (...) of what was decided as the loss adds up its terms."""
        return differences.sum()

    def scores(self, output: Any, batch: MicroBatch) -> Scores:
        """Per example, what `metrics` and `decode` need."""
        raise NotImplementedError

    def truth(self, split: TokenSplit) -> Any:
        """What `metrics` compares the scores of a split with."""
        return np.asarray(split.labels)

    def metrics(self, scores: Scores, truth: Any) -> dict[str, float]:
        """Metrics over a whole split, without prefix."""
        raise NotImplementedError

    def resampling(self, scores: Scores, truth: Any) -> Resampling:
        """How the metrics of a draw of examples are computed, for their confidence intervals."""

        def metrics(chosen: Indices) -> dict[str, float]:
            return self.metrics(taken(scores, chosen), None if truth is None else taken(truth, chosen))

        return Resampling(len(scores), metrics)

    def outcomes(self, scores: Scores, truth: Any, names: Sequence[str]) -> Outcomes | None:
        """Predictions beside the truth, or None where nothing can be said of a single example."""
        return None

    def probability(self, logits: torch.Tensor, target: int) -> float | None:
        """The probability of one label by the logits (L,) of a text; None where a prediction is no label."""
        return float(logits.softmax(-1)[target])

    def decode(
        self, scores: Scores, label_names: Sequence[str], split: TokenSplit, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """One `{prediction, probabilities}` per example; `rows` are what `split` was made of."""
        raise NotImplementedError


class TokenTask(Task):
    """A task whose loss has a term for each token that is marked."""

    def has_terms(self, tokens: Tokens) -> bool:
        return tokens.marks is not None and bool((tokens.marks != IGNORE).any())

    def units(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> float:
        marks = self.gather(split, examples, epoch).marks
        assert marks is not None
        return float(np.count_nonzero(marks != IGNORE))


def nothing_to_measure(split: str) -> RunFailed:
    """The failure of a run whose training or validation texts are all blank."""
    return RunFailed("data", f"no {split} example has text", "give texts that aren't blank")


def get_task(recipe: Recipe, tokenizer: Any = None) -> Task:
    """The task that a recipe names; without a tokenizer no more than its metrics can be had of some."""
    module = importlib.import_module(f"launcher.train.tasks.{recipe.task.replace('-', '_')}")
    make: Callable[[Recipe, Any], Task] = module.TASK
    return make(recipe, tokenizer)


def taken(values: Any, chosen: Indices) -> Any:
    """The items of an array or a list at these places."""
    return values[chosen] if isinstance(values, np.ndarray) else [values[index] for index in chosen]


def named_classes(label_names: Sequence[str]) -> dict[str, Any]:
    """Entries of a configuration that give the head one output for each class."""
    return {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
    }


def softmax(logits: Array) -> Array:
    """Softmax over the last axis in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(logits: Array) -> Array:
    """Logistic function in float64, without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))


def with_probabilities(
    predictions: Iterable[Any], probabilities: Array, names: Sequence[str]
) -> list[dict[str, Any]]:
    """n predictions, each beside the probabilities of all labels by name, out of (n, L)."""
    return [
        {"prediction": prediction, "probabilities": dict(zip(names, map(float, row), strict=True))}
        for prediction, row in zip(predictions, probabilities, strict=True)
    ]


def in_order(positions: Sequence[Indices], parts: Sequence[Scores], examples: int) -> Scores:
    """Put the scores of micro-batches where their examples stand in the split of `examples`."""
    assert sum(map(len, positions)) == examples
    if not parts or isinstance(parts[0], list):
        found: list[Any] = [None] * examples
        for places, values in zip(positions, parts, strict=True):
            for place, value in zip(places, values, strict=True):
                found[int(place)] = value
        return found
    # Part by part: with many classes all of them together are the largest thing that an evaluation holds.
    ordered = np.empty((examples, *parts[0].shape[1:]), dtype=parts[0].dtype)
    for places, values in zip(positions, parts, strict=True):
        ordered[places] = values
    return ordered
