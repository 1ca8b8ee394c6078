"""From rows of the token cache to tensors that the model takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.tasks.base import MicroBatch, Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import EVALUATION, Gathered, Indices, token_lengths
from launcher.train.tokens.masking import IGNORE
from launcher.train.tokens.mover import Mover

__all__ = ["Collate", "Indices", "PaddedCollate", "padded_collate", "token_lengths"]


class Collate(Protocol):
    """Makes the micro-batch of some examples of a split, as they are in an epoch."""

    pads: ClassVar[bool]
    """Whether shorter sequences are padded to the longest."""

    def __call__(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> MicroBatch: ...


@dataclass(frozen=True)
class PaddedCollate:
    """Sequences padded on the right to the longest of the micro-batch."""

    pads: ClassVar[bool] = True
    task: Task
    pad_id: int
    multiple: int
    """Lengths are rounded up to this: tensor cores like 8."""
    type_ids: bool
    """Whether the model tells first and second text apart by token types."""
    move: Mover

    def __call__(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> MicroBatch:
        gathered = self.task.gather(split, examples, epoch)
        lengths = gathered.lengths
        width = -(-int(lengths.max()) // self.multiple) * self.multiple
        real = np.arange(width)[None, :] < lengths[:, None]
        arrays = {"input_ids": _spread(gathered.ids, real, self.pad_id)}
        if int(lengths.min()) < width:
            # Without padding the mask is left out: attention then needs no masking at all.
            arrays["attention_mask"] = real.astype(np.int64)
        if self.type_ids:
            types = np.zeros_like(gathered.ids) if gathered.type_ids is None else gathered.type_ids
            arrays["token_type_ids"] = _spread(types, real, 0)
        places = np.flatnonzero(real.ravel())
        chosen = selected(self.task, gathered)
        return micro_batch(
            {name: self.move(array) for name, array in arrays.items()},
            split, examples, gathered, self.task, self.move,
            real=self.move(places if chosen is None else places[chosen]),
        )  # fmt: skip


def micro_batch(
    inputs: dict[str, torch.Tensor],
    split: TokenSplit,
    examples: Indices,
    gathered: Gathered,
    task: Task,
    move: Callable[[NDArray[Any]], torch.Tensor],
    real: torch.Tensor | None,
) -> MicroBatch:
    """The micro-batch around the model's inputs."""
    marks, chosen = gathered.marks, selected(task, gathered)
    tokens = gathered.tokens_each()
    if marks is not None and chosen is not None:
        marks = marks[chosen]
        example = np.repeat(np.arange(len(tokens)), tokens)
        tokens = np.bincount(example[chosen], minlength=len(tokens))
    return MicroBatch(
        inputs=task.model_inputs(inputs),
        labels=None if split.labels is None else move(split.labels[examples]),
        tokens=int(gathered.lengths.sum()),
        lengths=gathered.lengths,
        sequences=gathered.sequences,
        rows=tokens,
        marks=None if marks is None else move(marks),
        real=real,
        labelled=split.labelled,
    )


def selected(task: Task, gathered: Gathered) -> Indices | None:
    """Places of the tokens that the head is computed for, where it isn't for all."""
    if task.spec.reads != "selected" or gathered.marks is None:
        return None
    return np.flatnonzero(gathered.marks != IGNORE)


def _spread(values: NDArray[np.int64], real: NDArray[np.bool_], fill: int) -> NDArray[np.int64]:
    """Lay values (t,) out in the places of `real` (sequences, width)."""
    rows = np.full(real.shape, fill, dtype=np.int64)
    rows[real] = values
    return rows


def padded_collate(task: Task, tokenizer: Any, config: Any, device: torch.device) -> PaddedCollate:
    """The collate function for this tokenizer and model on this device."""
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else config.pad_token_id
    return PaddedCollate(
        task=task,
        pad_id=padding or 0,  # where neither has one, any will do: it is masked
        multiple=8 if device.type == "cuda" else 1,
        type_ids=getattr(config, "type_vocab_size", 0) > 1,
        move=Mover(device),
    )
