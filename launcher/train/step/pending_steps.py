"""Steps that are done as far as this process is concerned, and whose results nobody has read yet.

Reading a number from a GPU waits for everything before it. So losses, gradient norms and the agreement to stop are read
one step late there, while the GPU is busy with the next step; on a CPU there is nothing to wait for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch

LAG = {"cuda": 1, "cpu": 0}
"""Steps that may be computed while the results of an earlier one are read."""


@dataclass(frozen=True)
class StepResult:
    """One optimizer step, as it is reported."""

    step: int
    """Steps done with this one."""
    lr: float
    examples: int
    loss: float
    tokens: float
    """Real tokens over all ranks."""
    padding: float
    """Share of the positions computed over all ranks that are no real tokens; 0 where rows are packed."""
    grad_norm: float
    skipped: bool
    """Left out because fp16 overflowed."""
    asked_to_stop: bool
    """By any rank, before this step was over."""
    shares: tuple[float, ...] = ()
    """What each rank spent the step on: see `Heartbeat.shares`."""


@dataclass(frozen=True)
class UnreadStep:
    """A step before its results are read."""

    step: int
    lr: float
    examples: int
    sums: torch.Tensor
    """(4 + shares,) loss, tokens, positions, requests to stop and what `Heartbeat.shares` gave, over all ranks."""
    grad_norm: torch.Tensor
    skipped: bool


class PendingSteps:
    """The steps whose results nobody has read yet, in order."""

    def __init__(self, device: torch.device) -> None:
        self._lag = LAG[device.type]
        self._waiting: deque[tuple[UnreadStep, torch.Tensor, torch.cuda.Event | None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, step: UnreadStep) -> None:
        """Have the results copied to the host as soon as the device has them."""
        values = torch.cat([step.sums, step.grad_norm.detach().double().reshape(1)])
        event = None
        if values.device.type == "cuda":
            values = values.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._waiting.append((step, values, event))

    def results(self, everything: bool) -> list[StepResult]:
        """Results of the steps that are due to be read, or of all steps; all of them where one was asked to stop."""
        results: list[StepResult] = []
        while len(self._waiting) > self._lag or (self._waiting and everything):
            results.append(_read(*self._waiting.popleft()))
            everything = everything or results[-1].asked_to_stop
        return results


def _read(step: UnreadStep, values: torch.Tensor, event: torch.cuda.Event | None) -> StepResult:
    if event is not None:
        event.synchronize()
    loss, tokens, positions, asked, *shares, grad_norm = values.tolist()
    return StepResult(
        step=step.step,
        lr=step.lr,
        examples=step.examples,
        loss=loss,
        tokens=tokens,
        padding=1 - tokens / positions if positions else 0.0,
        grad_norm=grad_norm,
        skipped=step.skipped,
        asked_to_stop=asked > 0,
        shares=tuple(shares),
    )
