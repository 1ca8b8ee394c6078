"""Weights laid out for oneDNN once, for the products of an evaluation in bf16 on a CPU.

PyTorch lays a weight out anew for each product, and first writes the bias over the whole result. Two operators, which
torch.compile uses on a CPU, take a weight that is laid out already and add the bias themselves. Outputs are the same, bit for
bit on an AMD EPYC, and an evaluation takes a tenth less time (benchmarks/RESULTS.md). Tested with torch 2.13.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from launcher.train.compat.switch import saves_time, say_gone

CHECKED_ROWS = 8
"""Rows of the first input of each weight whose outputs are compared with PyTorch's."""
ROUNDED = 2**-6
"""Largest difference, of the largest output: a few roundings in bf16."""


def laid_out_weights(device: torch.device) -> AbstractContextManager[Any]:
    """Within it linear modules keep their weights laid out, which must stay what they are; for forward passes alone."""
    usable = device.type == "cpu" and saves_time() and has_operators()
    return LaidOutWeights() if usable else nullcontext()


@functools.cache
def has_operators() -> bool:
    """Whether oneDNN computes in bf16 here and this torch has the operators; says so once where it doesn't have them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    operators = torch.ops.mkldnn
    names = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    for name in names:
        if not hasattr(operators, name):
            say_gone(f"mkldnn::{name}", "evaluations lay weights out for each product, which is slower")
            return False
    return bool(operators._is_mkldnn_bf16_supported())


class LaidOutWeights(TorchFunctionMode):
    """Sees every linear product, and takes over those in bf16 with a module's own weight."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, tuple[nn.Parameter, torch.Tensor, torch.Tensor | None]] = {}
        """By the parameter's id: the parameter, which keeps the id its own; its weight laid out; the bias in bf16."""
        self._right = True

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear and not kwargs and self._takes(*args[:2]):
            return self._linear(*args)
        return func(*args, **(kwargs or {}))

    def _takes(self, rows: torch.Tensor, weight: torch.Tensor) -> bool:
        computed_in = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else rows.dtype
        return (
            self._right
            and not torch.compiler.is_compiling()
            and not torch.is_grad_enabled()
            and computed_in is torch.bfloat16
            and isinstance(weight, nn.Parameter)
            and rows.dim() > 1
            and rows.numel() > 0
        )

    def _linear(
        self, rows: torch.Tensor, weight: nn.Parameter, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        rows = rows.to(torch.bfloat16)
        if id(weight) not in self._kept:
            count = rows.numel() // rows.shape[-1]
            laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(torch.bfloat16), count)
            self._kept[id(weight)] = weight, laid_out, None if bias is None else bias.to(torch.bfloat16)
            self._right = self._is_right(rows, weight, bias)
        if not self._right:
            return functional.linear(rows, weight, bias)
        _, laid_out, added = self._kept[id(weight)]
        return _product(rows, laid_out, added)

    def _is_right(self, rows: torch.Tensor, weight: nn.Parameter, bias: torch.Tensor | None) -> bool:
        """Whether a few outputs are PyTorch's own; says so where they aren't."""
        some = rows.reshape(-1, rows.shape[-1])[:CHECKED_ROWS]
        _, laid_out, added = self._kept[id(weight)]
        own, other = _product(some, laid_out, added).float(), functional.linear(some, weight, bias).float()
        allowed = ROUNDED * float(other.nan_to_num().abs().max())
        if torch.allclose(own, other, rtol=0.0, atol=allowed, equal_nan=True):
            return True
        apart = float((own - other).abs().max())
        text = f"weights laid out for oneDNN give outputs that are {apart:.2g} off here; they are not used"
        print(f"launch: {text}", file=sys.stderr)
        return False


def _product(rows: torch.Tensor, laid_out: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """rows W^T + b, in bf16."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, laid_out, bias, "none", [], "")
    return product
