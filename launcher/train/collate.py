"""From rows of the token cache to tensors that the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.tasks import MicroBatch
from launcher.train.token_cache import TokenSplit

Indices = NDArray[np.int64]


class Collate(Protocol):
    """Makes the micro-batch of some examples of a split."""

    pads: ClassVar[bool]
    """Whether shorter examples are padded to the longest."""

    def __call__(self, split: TokenSplit, examples: Indices) -> MicroBatch: ...


def token_lengths(split: TokenSplit, examples: Indices) -> NDArray[np.int32]:
    """(len(examples),) tokens of each of these examples."""
    return (split.offsets[examples + 1] - split.offsets[examples]).astype(np.int32)


@dataclass(frozen=True)
class PaddedCollate:
    """Rows padded on the right to the longest of the micro-batch."""

    pads: ClassVar[bool] = True
    pad_id: int
    multiple: int
    """Lengths are rounded up to this: tensor cores like 8."""
    type_ids: bool
    """Whether the model tells first and second text apart by token types."""
    device: torch.device

    def __call__(self, split: TokenSplit, examples: Indices) -> MicroBatch:
        lengths = token_lengths(split, examples)
        width = -(-int(lengths.max()) // self.multiple) * self.multiple
        ids = np.full((len(examples), width), self.pad_id, dtype=np.int64)
        types = np.zeros_like(ids)
        for row, example in enumerate(examples):
            start, end = int(split.offsets[example]), int(split.offsets[example + 1])
            ids[row, : end - start] = split.ids[start:end]
            if self.type_ids and split.type_ids is not None:
                types[row, : end - start] = split.type_ids[start:end]
        inputs = {"input_ids": torch.from_numpy(ids)}
        if int(lengths.min()) < width:
            # Without padding the mask is left out: attention then needs no masking at all.
            inputs["attention_mask"] = torch.from_numpy(
                (np.arange(width)[None, :] < lengths[:, None]).astype(np.int64)
            )
        if self.type_ids:
            inputs["token_type_ids"] = torch.from_numpy(types)
        labels = (
            None if split.labels is None else torch.from_numpy(np.ascontiguousarray(split.labels[examples]))
        )
        return MicroBatch(
            inputs={name: self._move(value) for name, value in inputs.items()},
            labels=None if labels is None else self._move(labels),
            tokens=int(lengths.sum()),
        )

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def padded_collate(tokenizer: Any, config: Any, device: torch.device) -> PaddedCollate:
    """The collate function for this tokenizer and model on this device."""
    return PaddedCollate(
        pad_id=int(tokenizer.pad_token_id),
        multiple=8 if device.type == "cuda" else 1,
        type_ids=getattr(config, "type_vocab_size", 0) > 1,
        device=device,
    )
