"""Summing gradients over ranks in buckets whose layout never changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

BUCKET_BYTES = 25 * 2**20


class GradientBuckets:
    """Gradients as views into flat buffers that are summed over ranks, overlapping with the backward pass.

    The layout is the reverse order of the parameters, roughly that in which gradients appear; it never changes, and
    buckets are always reduced first to last, so sums are the same in a resumed run.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._flat: list[torch.Tensor] = []
        self._missing: list[int] = []
        self._sizes: list[int] = []
        self._bucket_of: dict[torch.nn.Parameter, int] = {}
        self._works: list[Any] = []
        self._hooks: list[Any] = []
        self._armed = False
        for members in _buckets_of(list(parameters)[::-1]):
            flat = torch.zeros(sum(p.numel() for p in members), dtype=torch.float32, device=members[0].device)
            offset = 0
            for parameter in members:
                parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
                offset += parameter.numel()
                self._bucket_of[parameter] = len(self._flat)
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._on_gradient))  # type: ignore[no-untyped-call]
            self._flat.append(flat)
            self._sizes.append(len(members))
        self._missing = list(self._sizes)

    def reduce_when_ready(self) -> None:
        """From now on, sum each bucket as soon as all its gradients and the buckets before it are there."""
        self._armed = True
        self._missing = list(self._sizes)

    def finish(self) -> None:
        """Start what has not started (parameters or ranks without a gradient) and wait for all sums."""
        while len(self._works) < len(self._flat):
            self._start_next()
        for work in self._works:
            work.wait()
        self._works.clear()
        self._armed = False

    def close(self) -> None:
        """Leave the parameters alone from now on."""
        for hook in self._hooks:
            hook.remove()

    def zero(self) -> None:
        for flat in self._flat:
            flat.zero_()

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        if not self._armed:
            return
        assert isinstance(parameter, torch.nn.Parameter)
        self._missing[self._bucket_of[parameter]] -= 1
        while len(self._works) < len(self._flat) and self._missing[len(self._works)] == 0:
            self._start_next()

    def _start_next(self) -> None:
        self._works.append(dist.all_reduce(self._flat[len(self._works)], async_op=True))


def _buckets_of(parameters: list[torch.nn.Parameter]) -> Iterable[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.numel() * 4
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
