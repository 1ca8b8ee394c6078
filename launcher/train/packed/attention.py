"""Attention over packed examples: every query sees the keys of its own example, and no padding is computed outside.

On a GPU in half precision one variable-length flash kernel does it. Elsewhere examples are gathered into groups of like
length, and each group is a few batched products.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from launcher.train.compat import flash_attention
from launcher.train.packed.dropout import keep_mask, keep_probability
from launcher.train.packed.packing import Group, Groups, Packing

KEPT_WEIGHTS = 2**24
"""Most attention weights of a layer that are kept for the backward pass (64 MiB); more are computed again there."""
FUSED_FROM = {torch.bfloat16: 24, torch.float32: 256}
"""Longest example from which, without gradients, PyTorch's fused kernel for CPUs is faster (benchmarks/RESULTS.md)."""


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    *,
    scale: float,
    dropout: float,
    window: int | None = None,
    first_only: bool = False,
) -> torch.Tensor:
    """Attention of packed `query` (queries, heads, width) to `key` and `value` (tokens, heads, width).

    With `window` a query sees keys at most that far away. With `first_only` there is one query for each example, that
    of its first token.
    """
    # The kernel takes a lone query for the last token: a window would lie at the wrong end.
    if has_flash_kernel(query) and not (first_only and window is not None):
        return _flash(query, key, value, packing, scale, dropout, window, first_only)
    if first_only:  # keys of examples that fill up the row are nobody's
        key, value = key[: packing.tokens], value[: packing.tokens]
    groups = packing.groups(query.shape[1], first_only, window)
    if not (dropout or first_only) and _is_faster_fused(query, packing.longest):
        return _fused(query, key, value, groups, scale)
    attended: torch.Tensor = GroupedAttention.apply(query, key, value, groups, scale, dropout)  # type: ignore[no-untyped-call]
    return attended


def _is_faster_fused(query: torch.Tensor, longest: int) -> bool:
    return (
        query.device.type == "cpu"
        and not torch.is_grad_enabled()
        and longest >= FUSED_FROM.get(query.dtype, longest + 1)
    )


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: Groups, scale: float
) -> torch.Tensor:
    """Attention group by group in PyTorch's kernel, in the type of `query`."""
    heads, outputs = groups.heads, []
    queries = groups.queries(gather(query, groups.query_rows, query.dtype))
    keys, values = (groups.keys(gather(rows, groups.key_rows, query.dtype)) for rows in (key, value))
    with torch.autocast("cpu", enabled=False):
        for group, *parts in zip(groups.groups, queries, keys, values, strict=True):
            q, k, v = (part.view(-1, heads, *part.shape[1:]) for part in parts)
            bias = None if group.bias is None else group.bias.to(query.dtype)
            outputs.append(functional.scaled_dot_product_attention(q, k, v, bias, scale=scale).flatten(0, 2))
    return scatter(torch.cat(outputs), groups.query_places, heads)


def has_flash_kernel(query: torch.Tensor) -> bool:
    """Whether the GPU's variable-length kernel takes this type and head width."""
    return takes_flash_kernel(query.device, query.dtype, query.shape[-1])


def takes_flash_kernel(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """The same of heads of this width, in this type on this device."""
    return (
        device.type == "cuda"
        and flash_attention.has_operator()
        and dtype in (torch.bfloat16, torch.float16)
        and width % 8 == 0
        and width <= 256
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def flash_dropout(p: float) -> float:
    """The probability that the GPU's kernel drops with where it is asked for `p`: it compares eight random bits."""
    return 1.0 - (math.floor((1.0 - p) * 255.0) + 1) / 256.0


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scale: float,
    dropout: float,
    window: int | None,
    first_only: bool,
) -> torch.Tensor:
    if not first_only:
        bounds, longest = packing.cu_seqlens, packing.longest
        return flash_attention.attention(
            query, key, value, bounds, bounds, longest, longest, scale, dropout, window
        )
    # Every key needs a query, though nobody reads it: the kernel leaves the derivatives of all others unwritten.
    fillers = query.new_zeros(packing.fillers, *query.shape[1:])
    output = flash_attention.attention(
        torch.cat([query, fillers]) if packing.fillers else query,
        key,
        value,
        packing.one_query_each(),
        packing.cu_seqlens,
        1,
        packing.longest,
        scale,
        dropout,
        window,
    )
    return output[: len(packing)]


class GroupedAttention(torch.autograd.Function):
    """softmax(Q K^T) V group by group in float32, with its derivative written out."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        groups: Groups,
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        with torch.autocast(query.device.type, enabled=False):
            q = gather(query, groups.query_rows).mul_(scale)
            k = gather(key, groups.key_rows)
            v = gather(value, groups.key_rows)
            masks = Masks(dropout, query.device)
            keep = sum(g.batch * g.queries * g.keys for g in groups.groups) <= KEPT_WEIGHTS
            kept: list[torch.Tensor] = []
            output = torch.empty_like(q)
            parts = zip(
                groups.groups,
                groups.queries(q),
                groups.keys(k),
                groups.keys(v),
                groups.queries(output),
                strict=True,
            )
            for group, q_part, k_part, v_part, output_part in parts:
                weights = _weights(group, groups.heads, q_part, k_part)
                mask = masks.draw(weights)
                torch.bmm(weights if mask is None else weights * mask, v_part, out=output_part)
                if keep:
                    kept += [weights] if mask is None else [weights, mask]
            ctx.save_for_backward(q, k, v, *kept)
            ctx.groups, ctx.scale, ctx.masks, ctx.kept = groups, scale, masks, keep
            ctx.dtype = query.dtype
            return scatter(output, groups.query_places, groups.heads).to(query.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        groups: Groups = ctx.groups
        q, k, v, *kept = ctx.saved_tensors
        masks: Masks = ctx.masks.again()
        with torch.autocast(q.device.type, enabled=False):
            d_output = gather(gradients[0], groups.query_rows)
            d_output.index_fill_(0, groups.query_padding, 0.0)
            d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            d_parts = zip(groups.queries(d_q), groups.keys(d_k), groups.keys(d_v), strict=True)
            parts = zip(
                groups.groups,
                groups.queries(q),
                groups.keys(k),
                groups.keys(v),
                groups.queries(d_output),
                strict=True,
            )
            remaining = iter(kept)
            for (group, q_part, k_part, v_part, d_o), (d_q_part, d_k_part, d_v_part) in zip(
                parts, d_parts, strict=True
            ):
                if ctx.kept:
                    weights = next(remaining)
                    mask = next(remaining) if masks.dropout else None
                else:
                    weights = _weights(group, groups.heads, q_part, k_part)
                    mask = masks.draw(weights)
                used = weights if mask is None else weights * mask
                torch.bmm(used.transpose(1, 2), d_o, out=d_v_part)
                d_used = torch.bmm(d_o, v_part.transpose(1, 2))
                d_weights = d_used if mask is None else d_used.mul_(mask)
                d_scores = softmax_derivative(d_weights, weights)
                torch.bmm(d_scores, k_part, out=d_q_part)
                torch.bmm(d_scores.transpose(1, 2), q_part, out=d_k_part)
            return (
                scatter(d_q.mul_(ctx.scale), groups.query_places, groups.heads).to(ctx.dtype),
                scatter(d_k, groups.key_places, groups.heads).to(ctx.dtype),
                scatter(d_v, groups.key_places, groups.heads).to(ctx.dtype),
                None,
                None,
                None,
            )


class Masks:
    """Dropout masks that can be drawn a second time."""

    def __init__(self, dropout: float, device: torch.device, seed: int | None = None) -> None:
        self.dropout = dropout
        self._device = device
        if dropout:
            self._seed = int(torch.randint(2**63 - 1, ())) if seed is None else seed
            self._generator = torch.Generator(device).manual_seed(self._seed)

    def again(self) -> Masks:
        return Masks(self.dropout, self._device, self._seed if self.dropout else None)

    def draw(self, weights: torch.Tensor) -> torch.Tensor | None:
        """What to multiply the weights with: 0, or the inverse of the probability to be kept."""
        if not self.dropout:
            return None
        mask = keep_mask(weights.shape, self.dropout, weights.dtype, weights.device, self._generator)
        return mask.mul_(1.0 / keep_probability(self.dropout))


def _weights(group: Group, heads: int, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """(batch, queries, keys) softmax over the keys that each query may see."""
    scores = torch.bmm(q, k.transpose(1, 2))
    if group.bias is not None:
        scores.view(-1, heads, group.queries, group.keys).add_(group.bias)
    return torch.softmax(scores, -1)


def gather(tensor: torch.Tensor, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(tokens, heads, width) -> (rows, width) in this type."""
    return tensor.reshape(-1, tensor.shape[-1]).index_select(0, rows).to(dtype)


def scatter(rows: torch.Tensor, places: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of `gather`: (tokens, heads, width)."""
    return rows.index_select(0, places).view(-1, heads, rows.shape[-1])


def softmax_derivative(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The gradient with respect to the scores, whose softmax over the last axis is `weights`; written over `gradient`."""
    product = gradient.mul_(weights)
    return product.addcmul_(weights, product.sum(dim=-1, keepdim=True), value=-1)
