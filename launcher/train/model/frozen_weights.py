"""Linear modules whose weights don't train, and adapters on them, without what only training of all weights needs.

Autocast casts a weight anew each time that it is used, unless it trains, and peft casts the input of an adapter to float32 and
back. Here a frozen weight is cast once. An adapter and what it adapts are one operation, whose derivative leaves out what
nobody asks for; while evaluating it is merged. Names, and what is saved, stay peft's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from launcher.train.packed.dropout import keep_mask, keep_probability
from launcher.train.packed.in_place import teach


def use_frozen_weights(model: nn.Module) -> None:
    """Teach all linear modules of a model whose weights don't train, in place; once all weights are where they will be."""
    for module in list(model.modules()):
        if type(module) is nn.Linear and not module.weight.requires_grad:
            teach(module, FrozenLinear)
            module.copies = Copies()  # type: ignore[assignment]
    for module in list(model.modules()):
        if _has_plain_adapter(module):
            teach(module, AdaptedLinear)
            module.merged_copies = Copies()  # type: ignore[assignment]


def _has_plain_adapter(module: nn.Module) -> bool:
    """Whether it is peft's linear module with one adapter that is a product of two matrices and nothing more."""
    if type(module).__module__ != "peft.tuners.lora.layer" or type(module).__name__ != "Linear":
        return False
    adapted: Any = module
    factors = (*adapted.lora_A.values(), *adapted.lora_B.values())
    alone = len(factors) == 2 and not adapted.lora_variant and all(each.bias is None for each in factors)
    return alone and isinstance(adapted.base_layer, FrozenLinear)


class Copies:
    """Of a weight in other types; copies of a module begin without."""

    def __init__(self) -> None:
        self._kept: dict[torch.dtype, torch.Tensor] = {}

    def __deepcopy__(self, _memo: Any) -> Copies:
        return Copies()

    def get(self, dtype: torch.dtype, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        if dtype not in self._kept:
            self._kept[dtype] = make().detach().to(dtype)
        return self._kept[dtype]

    def clear(self) -> None:
        self._kept.clear()


class FrozenLinear(nn.Module):
    """nn.Linear."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    copies: Copies

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (torch's name for it)
        return functional.linear(input, self.weight_in(computed_in(input)), self.bias)

    def weight_in(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight in this type."""
        return self.weight if self.weight.dtype == dtype else self.copies.get(dtype, lambda: self.weight)


class AdaptedLinear(nn.Module):
    """peft's Linear with one plain adapter."""

    base_layer: FrozenLinear
    lora_A: nn.ModuleDict  # noqa: N815 (peft's name for it)
    lora_B: nn.ModuleDict  # noqa: N815
    lora_dropout: nn.ModuleDict
    scaling: dict[str, float]
    disable_adapters: bool
    merged: bool
    merged_copies: Copies

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args or kwargs or self.disable_adapters or self.merged:
            stock: torch.Tensor = super().forward(x, *args, **kwargs)
            return stock
        dtype = computed_in(x)
        if not self.training and not torch.is_grad_enabled():
            merged = self.merged_copies.get(dtype, self._merged)
            return functional.linear(x, merged, self.base_layer.bias)
        first, second, scale, dropout = self.adapter()
        base = self.base_layer
        projected: torch.Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
            x, base.weight_in(dtype), base.bias, first, second, scale, dropout, dtype
        )
        return projected

    def train(self, mode: bool = True) -> Self:
        """As ever; the adapter is merged anew before the next evaluation."""
        self.merged_copies.clear()
        return super().train(mode)

    def adapter(self) -> tuple[torch.Tensor, torch.Tensor, float, float]:
        """Its two factors, (r, inputs) and (outputs, r), what their product is scaled with, and the dropout of its input."""
        (name,) = self.lora_A
        dropout = self.lora_dropout[name]
        rate = float(dropout.p) if isinstance(dropout, nn.Dropout) and self.training else 0.0
        first, second = self.lora_A[name].weight, self.lora_B[name].weight
        assert isinstance(first, torch.Tensor)
        assert isinstance(second, torch.Tensor)
        return first, second, self.scaling[name], rate

    def _merged(self) -> torch.Tensor:
        first, second, scale, _ = self.adapter()
        with torch.autocast(first.device.type, enabled=False):
            return torch.addmm(self.base_layer.weight, second, first, alpha=scale)


def computed_in(x: torch.Tensor) -> torch.dtype:
    """The type that a linear module computes in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _Adapted(torch.autograd.Function):
    """x W^T + b + scale * drop(x) A^T B^T, where neither W nor b has a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        first: torch.Tensor,
        second: torch.Tensor,
        scale: float,
        dropout: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1]).to(dtype)
            a, b, mask, dropped = first.to(dtype), second.to(dtype), None, rows
            if dropout:
                mask = keep_mask(rows.shape, dropout, dtype, x.device)
                dropped, scale = rows * mask, scale / keep_probability(dropout)
            narrow = dropped @ a.T
            wide = functional.linear(rows, weight, None if bias is None else bias.to(dtype))
            wide.addmm_(narrow, b.T, alpha=scale)
        ctx.save_for_backward(weight, a, b, dropped, narrow, mask)
        ctx.scale, ctx.types, ctx.shape = scale, (x.dtype, first.dtype, second.dtype), x.shape
        return wide.view(*x.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, a, b, dropped, narrow, mask = ctx.saved_tensors
        x_type, first_type, second_type = ctx.types
        with torch.autocast(weight.device.type, enabled=False):
            d_wide = gradients[0].reshape(-1, gradients[0].shape[-1])
            d_narrow = (d_wide @ b).mul_(ctx.scale)
            d_first = (d_narrow.T @ dropped).to(first_type)
            d_second = (d_wide.T @ narrow).mul_(ctx.scale).to(second_type)
            d_x = None
            if ctx.needs_input_grad[0]:
                d_x = d_wide @ weight
                if mask is None:
                    d_x.addmm_(d_narrow, a)
                else:
                    d_x.addcmul_(d_narrow @ a, mask)
                d_x = d_x.view(ctx.shape).to(x_type)
        return d_x, None, None, d_first, d_second, None, None, None
