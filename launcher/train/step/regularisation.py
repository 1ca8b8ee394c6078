"""Regularisation beyond dropout and weight decay: penalties, adversarial embeddings, and averages of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from launcher.train.tasks import MicroBatch

WARMING = 10
"""The average forgets its start: its decay is no more than (1 + n) / (WARMING + n) at update n."""


def penalty(parameters: Sequence[torch.nn.Parameter], l1: float, l2: float) -> torch.Tensor:
    """l1 times the sum of absolute values, plus l2 / 2 times the sum of squares, of the matrices among `parameters`.

    Its gradient is l1 * sign(w) + l2 * w. It goes through the optimizer's moments like that of the loss, which decoupled
    weight decay does not (Loshchilov and Hutter, 2019).
    """
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    total = torch.zeros((), device=parameters[0].device)
    for matrix in matrices:
        if l1:
            total = total + l1 * matrix.abs().sum()
        if l2:
            total = total + 0.5 * l2 * matrix.square().sum()
    return total


class Adversary:
    """FGM (Miyato et al., 2017): training also on embeddings moved against the loss, by `epsilon` in each sequence.

    After the backward pass of an ordinary forward pass, `moved` gives a second forward pass in which the output of the
    word embeddings is moved along its gradient, which is scaled to the norm epsilon over the tokens of each sequence:
    the same in any layout of micro-batches, packed or padded.
    """

    def __init__(self, embeddings: torch.nn.Module, epsilon: float) -> None:
        self._epsilon = epsilon
        self._output: torch.Tensor | None = None
        self._move: torch.Tensor | None = None
        embeddings.register_forward_hook(self._on_output)

    @contextmanager
    def moved(self, batch: MicroBatch) -> Iterator[None]:
        """Within it, the forward pass of this micro-batch sees the moved embeddings."""
        assert self._output is not None
        assert self._output.grad is not None
        assert batch.lengths is not None
        self._move = worst_move(self._output.grad, batch.lengths.tolist(), self._epsilon)
        self._output = None
        try:
            yield
        finally:
            self._move = None

    def _on_output(self, _module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return output
        if self._move is not None:
            return output + self._move
        if output.requires_grad:
            output.retain_grad()
        else:  # frozen embeddings: the gradient begins here
            output = output.detach().requires_grad_()
        self._output = output
        return output


def worst_move(gradient: torch.Tensor, lengths: Sequence[int], epsilon: float) -> torch.Tensor:
    """The gradient (sequences or 1, tokens, width), scaled to the norm epsilon in each sequence."""
    squares = gradient.float().square().sum(dim=-1)
    if len(gradient) == len(lengths):
        norms = squares.sum(dim=-1).sqrt()[:, None].expand_as(squares)
    else:
        counts = torch.tensor(lengths, device=gradient.device)
        places = torch.arange(len(lengths), device=gradient.device)
        owner = torch.repeat_interleave(
            places, counts, output_size=sum(lengths)
        )  # else the host waits for the sum
        real = squares[0, : len(owner)]
        sums = torch.zeros(len(lengths), device=gradient.device).index_add_(0, owner, real)
        norms = torch.ones_like(squares)
        norms[0, : len(owner)] = sums.sqrt()[owner]
    scale = torch.where(norms > 0, epsilon / norms, torch.zeros_like(norms))
    return gradient * scale[..., None]


class WeightAverage:
    """Exponential moving average of the weights (Polyak and Juditsky, 1992), updated once an optimizer step."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._average = [parameter.detach().clone() for parameter in parameters]
        self._decay = decay
        self._updates = 0

    def update(self) -> None:
        """Move the average towards the weights."""
        decay = min(self._decay, (1 + self._updates) / (WARMING + self._updates))
        mix = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        mix(self._average, [parameter.detach() for parameter in self._parameters], self._updates)
        self._updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Any]:
        return {"updates": self._updates, "average": self._average}

    def load(self, state: Mapping[str, Any]) -> None:
        self._updates = state["updates"]
        for average, saved in zip(self._average, state["average"], strict=True):
            average.copy_(saved)
