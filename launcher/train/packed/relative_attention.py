"""Attention over packed examples that also reads how far apart two tokens are (He et al., 2021, arXiv:2006.03654).

A score is the sum of query times key, query times the key of the distance, key times the query of the distance, and a number for
the distance (Raffel et al., 2020, arXiv:1910.10683); families have some of these. A distance
is the same all along a diagonal. So each token is multiplied with the rows of those distances alone that occur in examples of
its length, and the products, read again with a stride one shorter than their rows, are the scores: nothing is gathered, and
no token meets all of the hundreds of buckets. Plain PyTorch, on a CPU and on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from launcher.train.packed.attention import KEPT_WEIGHTS, Masks, gather, scatter, softmax_derivative
from launcher.train.packed.packing import Group, Groups, Packing


def attend_relative(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    *,
    distance_keys: torch.Tensor | None = None,
    distance_queries: torch.Tensor | None = None,
    distance_biases: torch.Tensor | None = None,
    scale: float,
    dropout: float,
    first_only: bool = False,
) -> torch.Tensor:
    """Attention of packed `query` (queries, heads, width) to `key` and `value` (tokens, heads, width).

    `distance_keys` and `distance_queries` (2 * widest - 1, heads, width) and `distance_biases` (2 * widest - 1, heads), which the
    scale leaves alone, have a row for each difference of the query's place and the key's, from `packing.widest` - 1 down to its
    negative; None where they are no part of a score. With `first_only` there is one query for each example, that of its first
    token.
    """
    if first_only:  # keys of examples that fill up the row are nobody's
        key, value = key[: packing.tokens], value[: packing.tokens]
    groups = packing.groups(query.shape[1], first_only, by_head=True)
    attended: torch.Tensor = RelativeAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, distance_keys, distance_queries, distance_biases, groups, scale, dropout
    )
    return attended


class Distances(NamedTuple):
    """Rows of the distances (heads, 2 * widest - 1, width): of keys from the largest on, of queries from the least on.

    Biases (heads, 2 * widest - 1) are as keys.
    """

    keys: torch.Tensor | None
    queries: torch.Tensor | None
    biases: torch.Tensor | None

    @classmethod
    def laid_out(
        cls,
        keys: torch.Tensor | None,
        queries: torch.Tensor | None,
        biases: torch.Tensor | None,
        scale: float,
        dtype: torch.dtype,
    ) -> Distances:
        """From rows (2 * widest - 1, heads, width); queries are scaled as those of the tokens are."""
        return cls(
            None if keys is None else keys.to(dtype).transpose(0, 1).contiguous(),
            None if queries is None else queries.to(dtype).flip(0).transpose(0, 1).mul(scale),
            None if biases is None else biases.to(at_least_fp32(dtype)).transpose(0, 1).contiguous(),
        )

    def zeros(self) -> Distances:
        return Distances(*(None if table is None else torch.zeros_like(table) for table in self))

    def gradients(self, scale: float, dtype: torch.dtype) -> tuple[torch.Tensor | None, ...]:
        """The inverse of `laid_out`, for derivatives; those of biases stay in float32 at least."""
        return (
            None if self.keys is None else self.keys.transpose(0, 1).to(dtype),
            None if self.queries is None else self.queries.mul(scale).transpose(0, 1).flip(0).to(dtype),
            None if self.biases is None else self.biases.transpose(0, 1),
        )


class RelativeAttention(torch.autograd.Function):
    """softmax(Q K^T + Q P^T + (K R^T)^T + B) V group by group, with its derivative written out; P, R and B go by distance.

    In float32 at least; on a GPU products are in the type of the queries, as autocast has them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        distance_keys: torch.Tensor | None,
        distance_queries: torch.Tensor | None,
        distance_biases: torch.Tensor | None,
        groups: Groups,
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        with torch.autocast(query.device.type, enabled=False):
            dtype = computed_in(query)
            q = gather(query, groups.query_rows, dtype).mul_(scale)
            k, v = gather(key, groups.key_rows, dtype), gather(value, groups.key_rows, dtype)
            distances = Distances.laid_out(distance_keys, distance_queries, distance_biases, scale, dtype)
            masks = Masks(dropout, query.device)
            keep = sum(g.batch * g.queries * g.keys for g in groups.groups) <= KEPT_WEIGHTS
            kept: list[torch.Tensor] = []
            output = torch.empty_like(q)
            for group, q_part, output_part, k_part, v_part in _parts(groups, (q, output), (k, v)):
                weights = _weights(group, groups.heads, q_part, k_part, distances)
                mask = masks.draw(weights)
                used = weights if mask is None else weights * mask
                torch.bmm(used.to(dtype), v_part, out=output_part)
                if keep:
                    kept += [weights] if mask is None else [weights, mask]
            ctx.save_for_backward(q, k, v, *distances, *kept)
            ctx.groups, ctx.scale, ctx.masks, ctx.kept = groups, scale, masks, keep
            ctx.dtype = query.dtype
            return scatter(output, groups.query_places, groups.heads).to(query.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        groups: Groups = ctx.groups
        q, k, v, *tables = ctx.saved_tensors
        distances, kept = Distances(*tables[:3]), iter(tables[3:])
        d_distances = distances.zeros()
        masks: Masks = ctx.masks.again()
        with torch.autocast(q.device.type, enabled=False):
            d_output = gather(gradients[0], groups.query_rows, q.dtype)
            d_output.index_fill_(0, groups.query_padding, 0.0)
            d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            for group, q_part, d_o, d_q_part, k_part, v_part, d_k_part, d_v_part in _parts(
                groups, (q, d_output, d_q), (k, v, d_k, d_v)
            ):
                if ctx.kept:
                    weights = next(kept)
                    mask = next(kept) if masks.dropout else None
                else:
                    weights = _weights(group, groups.heads, q_part, k_part, distances)
                    mask = masks.draw(weights)
                used = weights if mask is None else weights * mask
                torch.bmm(used.to(q.dtype).transpose(1, 2), d_o, out=d_v_part)
                d_used = torch.bmm(d_o, v_part.transpose(1, 2)).to(weights.dtype)
                d_weights = d_used if mask is None else d_used.mul_(mask)
                d_scores = softmax_derivative(d_weights, weights).to(q.dtype)
                torch.bmm(d_scores, k_part, out=d_q_part)
                torch.bmm(d_scores.transpose(1, 2), q_part, out=d_k_part)
                if distances.keys is not None:
                    _add_gradients(d_scores, q_part, distances.keys, d_q_part, d_distances.keys)
                if distances.queries is not None:
                    turned = d_scores.transpose(1, 2)
                    _add_gradients(turned, k_part, distances.queries, d_k_part, d_distances.queries)
                if d_distances.biases is not None:
                    _add_bias_gradient(d_scores, d_distances.biases)
            return (
                scatter(d_q.mul_(ctx.scale), groups.query_places, groups.heads).to(ctx.dtype),
                scatter(d_k, groups.key_places, groups.heads).to(ctx.dtype),
                scatter(d_v, groups.key_places, groups.heads).to(ctx.dtype),
                *d_distances.gradients(ctx.scale, ctx.dtype),
                None,
                None,
                None,
            )


def computed_in(query: torch.Tensor) -> torch.dtype:
    """The type of the products: a CPU is no faster in half precision."""
    return query.dtype if query.device.type == "cuda" else at_least_fp32(query.dtype)


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _parts(
    groups: Groups, of_queries: tuple[torch.Tensor, ...], of_keys: tuple[torch.Tensor, ...]
) -> Iterator[tuple[Any, ...]]:
    """Each group with its part of the gathered rows, (batch, queries or keys, width)."""
    parts = [*map(groups.queries, of_queries), *map(groups.keys, of_keys)]
    return zip(groups.groups, *parts, strict=True)


def _weights(
    group: Group, heads: int, q: torch.Tensor, k: torch.Tensor, distances: Distances
) -> torch.Tensor:
    """(batch, queries, keys) softmax over the keys of the query's own example."""
    scores = torch.bmm(q, k.transpose(1, 2))
    if distances.keys is not None:
        scores += _products(q, distances.keys, group.keys)
    if distances.queries is not None:
        scores += _products(k, distances.queries, group.queries).transpose(1, 2)
    if distances.biases is not None:
        biases = _biases(distances.biases, group.queries, group.keys)
        scores.view(heads, -1, group.queries, group.keys).add_(biases[:, None])
    if group.bias is not None:
        scores.view(heads, -1, group.queries, group.keys).add_(group.bias[:, 0])
    return torch.softmax(scores, -1, dtype=at_least_fp32(scores.dtype))


def _products(own: torch.Tensor, table: torch.Tensor, others: int) -> torch.Tensor:
    """(batch, places, others): each of `own` (batch, places, width) times the row of its distance to each other place."""
    batch, places, width = own.shape
    rows = _rows(table, places, others)
    products = torch.bmm(own.view(len(table), -1, width), rows.transpose(1, 2))
    return _by_place(products, batch, places, others)


def _add_gradients(
    gradient: torch.Tensor,
    own: torch.Tensor,
    table: torch.Tensor,
    d_own: torch.Tensor,
    d_table: torch.Tensor | None,
) -> None:
    """Add the derivatives of `_products` by its arguments, given the one by its result (batch, places, others)."""
    assert d_table is not None
    batch, places, others = gradient.shape
    heads, width = len(table), own.shape[-1]
    spread = gradient.new_zeros(heads, batch // heads * places, places + others - 1)
    _by_place(spread, batch, places, others).copy_(gradient)
    d_own.view(heads, -1, width).baddbmm_(spread, _rows(table, places, others))
    _rows(d_table, places, others).baddbmm_(spread.transpose(1, 2), own.view(heads, -1, width))


def _biases(table: torch.Tensor, places: int, others: int) -> torch.Tensor:
    """(heads, places, others) the bias of each place's distance to each other place."""
    return _rows(table, places, others).unfold(1, others, 1).flip(1)


def _add_bias_gradient(gradient: torch.Tensor, d_table: torch.Tensor) -> None:
    """Add to the gradient of the biases (heads, distances) that of scores (heads * examples, places, others)."""
    _, places, others = gradient.shape
    spread = d_table.new_zeros(len(d_table), places, places + others - 1)
    summed = gradient.view(len(d_table), -1, places, others).sum(1, dtype=d_table.dtype)
    _by_place(spread, len(d_table), places, others).copy_(summed)
    _rows(d_table, places, others).add_(spread.sum(1))


def _rows(table: torch.Tensor, places: int, others: int) -> torch.Tensor:
    """The part of a table (heads, distances, ...) for the distances of `places` places to `others`."""
    widest = (table.shape[1] + 1) // 2
    return table[:, widest - places : widest + others - 1]


def _by_place(products: torch.Tensor, batch: int, places: int, others: int) -> torch.Tensor:
    """Products by place and distance (..., places, places + others - 1) read by place and other place.

    The distance of place p to place o stands in column o - p + places - 1.
    """
    columns = places + others - 1
    return products.as_strided((batch, places, others), (places * columns, columns - 1, 1), places - 1)
