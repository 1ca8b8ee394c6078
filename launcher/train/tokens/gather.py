"""The tokens of some examples, taken out of the token cache: what a micro-batch is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.train.tokens.cache import TokenSplit

Indices = NDArray[np.int64]

EVALUATION = -1
"""The epoch of an evaluation, where whatever is drawn is drawn the same way each time."""


@dataclass(frozen=True)
class Gathered:
    """s sequences of t tokens together, one after another."""

    ids: NDArray[np.int64]
    """(t,) token ids."""
    lengths: NDArray[np.int64]
    """(s,) tokens of each sequence."""
    type_ids: NDArray[np.int64] | None
    """(t,) 0 in the first text of a pair, 1 in the second."""
    marks: NDArray[np.int64] | None
    """(t,) or (t, k) the task's marks of the tokens."""
    sequences: NDArray[np.int64] | None
    """(examples,) sequences of each example; None: one each."""

    def tokens_each(self) -> NDArray[np.int64]:
        """(examples,) tokens of each example."""
        if self.sequences is None:
            return self.lengths
        ends = np.cumsum(self.sequences)
        return np.add.reduceat(self.lengths, ends - self.sequences)


def gather(split: TokenSplit, examples: Indices) -> Gathered:
    """Sequences of these examples, in their order."""
    bounds = [(int(split.bounds[example]), int(split.bounds[example + 1])) for example in examples]
    if split.sequences is None:
        lengths = np.fromiter((end - start for start, end in bounds), np.int64, len(bounds))
        sequences = None
    else:
        sequences = split.sequences[examples + 1] - split.sequences[examples]
        each = [np.diff(split.offsets[split.sequences[e] : split.sequences[e + 1] + 1]) for e in examples]
        lengths = np.concatenate([np.zeros(0, np.int64), *each])
    return Gathered(
        ids=_take(split.ids, bounds),
        lengths=lengths,
        type_ids=None if split.type_ids is None else _take(split.type_ids, bounds),
        marks=None if split.marks is None else _take(split.marks, bounds),
        sequences=sequences,
    )


def token_lengths(split: TokenSplit, examples: Indices) -> NDArray[np.int32]:
    """(len(examples),) tokens of each of these examples."""
    return (split.bounds[examples + 1] - split.bounds[examples]).astype(np.int32)


def _take(values: NDArray[Any], bounds: list[tuple[int, int]]) -> NDArray[np.int64]:
    empty = np.zeros((0, *values.shape[1:]), np.int64)
    return np.concatenate([empty, *(values[start:end] for start, end in bounds)])
