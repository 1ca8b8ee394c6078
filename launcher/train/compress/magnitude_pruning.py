"""Magnitude pruning: the smallest weights are held at zero while the others train on.

Gradual pruning follows the cubic schedule of Zhu and Gupta, 2017 (arXiv:1710.01878). Nothing has to be saved for a
resume: what is zero is pruned.
"""

from __future__ import annotations

import torch

from launcher.recipe.prune import Prune

RAMP = 0.7
"""Share of the training after which gradual pruning has reached its aim: the rest recovers."""
UPDATES = 40
"""How often weights are chosen anew on the way there."""


class Sparsity:
    """Masks over the matrices of an encoder's layers."""

    def __init__(self, encoder: torch.nn.Module, prune: Prune, total: int, step: int) -> None:
        """`encoder` has done `step` of `total` optimizer steps; pruning in one shot happens here, before the first."""
        self._weights = [m.weight for n, m in encoder.named_modules() if _prunable(n, m)]
        self._prune = prune
        self._end = round(RAMP * total) if prune.schedule == "gradual" else 0
        self._every = max(1, self._end // UPDATES)
        self._masks = [weight.detach() != 0 for weight in self._weights]
        if step == 0:
            self.hold(0)

    def share(self, step: int) -> float:
        """The share of weights that is zero after `step` optimizer steps."""
        if step >= self._end:
            return self._prune.magnitude
        return self._prune.magnitude * (1 - (1 - step / self._end) ** 3)

    def reached(self, step: int) -> bool:
        """Whether the model is as sparse as it is to be."""
        return step >= self._end

    @torch.no_grad()
    def hold(self, step: int) -> None:
        """After an optimizer step: set what is pruned back to zero, and prune more where the schedule says so."""
        if step <= self._end and (step % self._every == 0 or step == self._end):
            self._masks = [_largest(weight, self.share(step)) for weight in self._weights]
        for weight, mask in zip(self._weights, self._masks, strict=True):
            weight.mul_(mask)


def _prunable(name: str, module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) and ".layer" in f".{name}"


def _largest(weight: torch.Tensor, share: float) -> torch.Tensor:
    """True for all but the `share` of smallest magnitude."""
    count = round(share * weight.numel())
    if count == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    sizes = weight.abs().flatten()
    # Which of equal elements kthvalue names differs on a GPU, so that torch refuses it to a deterministic training.
    threshold = sizes.sort().values[count - 1] if sizes.is_cuda else sizes.kthvalue(count).values
    return weight.abs() > threshold
