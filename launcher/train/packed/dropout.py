"""Dropout at a sixth of the price on a CPU, where drawing the mask costs more than what it is multiplied with.

PyTorch's generator there yields one number at a time, on one core, for each element. Here one draw of 64 bits decides
about four elements, and the mask is laid down in the type of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LEVELS = 2**16
"""Probabilities are rounded to one in this many, and values are scaled by what is kept then: the mean is exact."""


def keep_probability(p: float) -> float:
    """The share of elements that `keep_mask` keeps when it drops with probability `p`."""
    return 1.0 - dropped_levels(p) / LEVELS


def keep_mask(
    shape: Sequence[int],
    p: float,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A tensor of ones, with zeros at random with probability `p`."""
    mask = torch.empty(tuple(shape), dtype=dtype, device=device)
    if device.type != "cpu":
        return mask.bernoulli_(keep_probability(p), generator=generator)
    count = mask.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    levels = words.view(torch.int16)[:count].view(mask.shape)
    return torch.ge(levels, dropped_levels(p) - LEVELS // 2, out=mask)


def dropped_levels(p: float) -> int:
    """How many of the LEVELS are left out."""
    return min(round(p * LEVELS), LEVELS - 1)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, p: float) -> torch.Tensor:
        mask = keep_mask(values.shape, p, values.dtype, values.device)
        ctx.save_for_backward(mask)
        ctx.scale = 1.0 / keep_probability(p)
        return (values * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (gradients[0] * mask).mul_(ctx.scale), None


class CpuDropout(torch.nn.Dropout):
    """nn.Dropout with a cheaper mask on the CPU; the same elsewhere, and the same in evaluation."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (torch's name for it)
        if not self.training or self.p == 0.0 or self.inplace or input.device.type != "cpu":
            return super().forward(input)
        dropped: torch.Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def use_cheap_dropout(model: torch.nn.Module) -> None:
    """Turn each nn.Dropout of the model into a CpuDropout, in place."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = CpuDropout


def use_stock_dropout(model: torch.nn.Module) -> None:
    """The inverse of `use_cheap_dropout`."""
    for module in model.modules():
        if type(module) is CpuDropout:
            module.__class__ = torch.nn.Dropout  # type: ignore[assignment]  # CpuDropout is one
