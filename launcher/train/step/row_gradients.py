"""Gradients of word embeddings on a CPU, in the rows of the words that occur and nowhere else.

A batch of short texts has some hundreds of the vocabulary's words. PyTorch makes a gradient of the whole table anew in each
step, fills it with zeros, looks through it for its norm and scales it: for a small encoder that takes as long as a layer. Here
the table's gradient stays where it is, and only rows that were written are looked at, scaled and cleared. The optimizer sees
the same gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class RowGradients:
    """The gradient of one embedding: a table of zeros but in the rows that were touched, which stays `weight.grad`."""

    def __init__(self, weight: nn.Parameter, padding: int | None) -> None:
        self.weight = weight
        self._padding = padding
        self._touched: list[torch.Tensor] = []
        self._table = weight.grad = torch.zeros_like(weight)

    def add(self, ids: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the gradients (..., width) of rows `ids` (...); those of the padding id don't count."""
        rows, values = ids.reshape(-1), gradient.reshape(-1, gradient.shape[-1])
        if self._padding is not None:
            real = rows != self._padding
            if not bool(real.all()):
                rows, values = rows[real], values[real]
        self._table.index_add_(0, rows, values)
        self._touched.append(rows)

    def take(self) -> nn.Parameter:
        """The touched rows (k, width) as a parameter with a gradient; `give` writes it back."""
        rows_of_all = torch.cat([torch.zeros(0, dtype=torch.int64), *self._touched])
        self._touched = [torch.unique(rows_of_all)]
        rows = nn.Parameter(self.weight.detach().new_empty(len(self._touched[0]), self.weight.shape[1]))
        rows.grad = self._table.index_select(0, self._touched[0])
        return rows

    def give(self, rows: nn.Parameter) -> None:
        """Write back the gradient of what `take` gave."""
        assert rows.grad is not None
        self._table.index_copy_(0, self._touched[0], rows.grad)

    def clear(self) -> None:
        """Zero again, and the weight's gradient again where it was taken away."""
        for rows in self._touched:
            self._table.index_fill_(0, rows, 0.0)
        self._touched.clear()
        self.weight.grad = self._table


class RowEmbedding(nn.Embedding):
    """An embedding whose gradient goes to its RowGradients."""

    rows: RowGradients

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return super().forward(ids)
        looked_up: torch.Tensor = _LookUp.apply(self.weight, ids, self.rows)  # type: ignore[no-untyped-call]
        return looked_up


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, ids: torch.Tensor, rows: RowGradients) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = rows
        return functional.embedding(ids, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.rows.add(ids, gradients[0])
        return None, None, None


def use_row_gradients(model: nn.Module) -> list[RowGradients]:
    """Let the embeddings of `model` that are trained, and are nothing but embeddings, have gradients by row.

    Not the output layer's table where a head shares it: its gradient is dense. Names and what is saved stay as they are.
    """
    owners: dict[torch.Tensor, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter] = owners.get(parameter, 0) + 1
    found = []
    for module in model.modules():
        if type(module) is not nn.Embedding or not module.weight.requires_grad:
            continue
        assert isinstance(module.weight, nn.Parameter)
        if owners[module.weight] > 1 or module.max_norm is not None or module.weight.numel() < LARGE:
            continue
        module.__class__ = RowEmbedding
        rows = RowGradients(module.weight, module.padding_idx)
        module.rows = rows  # type: ignore[assignment]
        found.append(rows)
    return found


LARGE = 2**20
"""Elements of a table that are worth the trouble."""
