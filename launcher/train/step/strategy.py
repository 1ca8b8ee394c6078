"""What the training loop asks of a strategy, of which there are two: plain PyTorch (`plain`) and DeepSpeed's ZeRO (`zero`).

Both get the loss of each micro-batch as a sum and divide it by what the whole global batch holds, so that gradients are
those of the mean over the global batch, whatever the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class StepOutcome:
    """What an optimizer step did."""

    grad_norm: torch.Tensor
    """Norm of the whole gradient before clipping; a scalar on the device, which the host has not waited for."""
    skipped: bool = False
    """True where fp16 overflowed and the loss scale was lowered instead."""


class Strategy(Protocol):
    """How a step is computed: what the loop needs, and no more."""

    even_micro_batches: bool
    """Whether all ranks must compute the same number of micro-batches."""

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        """Forward pass in the recipe's precision: what the transformers model returns."""

    def backward(self, loss_sum: torch.Tensor, units: float | torch.Tensor, last: bool) -> None:
        """Add the gradient of loss_sum / units; `last` closes the accumulation."""

    def clip(self) -> None:
        """Sum the gradient over ranks and clip it to train.clip."""

    def step(self, lr: float) -> StepOutcome:
        """Update the weights with the clipped gradient, and clear it."""

    def train_mode(self, training: bool) -> None: ...

    def averaged(self) -> AbstractContextManager[None]:
        """Within it, the weights are their average over steps where the recipe asks for one; for evaluating and saving."""

    def unfreeze(self, depth: int) -> None:
        """From the next step on, train what lies at this depth of the model or above."""

    def is_finite(self) -> bool:
        """Whether what this rank has of weights and optimizer state are numbers, infinity not among them."""

    def full_state(self) -> dict[str, torch.Tensor] | None:
        """All weights on the CPU of rank 0, None elsewhere; every rank must call it."""

    def save(self, directory: Path) -> Callable[[], None]:
        """Write what resuming needs into `directory`; every rank must call it.

        Returns the part of the work that needs no rank but 0 and no device, for a thread to do.
        """

    def load(self, directory: Path) -> None:
        """Take up what `save` wrote; every rank must call it."""


@torch.no_grad()
def all_finite(tensors: Iterable[Any]) -> bool:
    """Whether these tensors hold neither NaN nor infinity; what is no tensor of numbers with a point doesn't count.

    A NaN is the smallest and the largest of its tensor. On a CPU to find these takes a tenth of the time of a norm.
    """
    extremes: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel():
            extremes.setdefault((tensor.device, tensor.dtype), []).extend(tensor.aminmax())
    return all(bool(torch.stack(alike).isfinite().all()) for alike in extremes.values())


def nothing_left_to_write() -> None:
    """What `save` returns where a thread has nothing to do."""
