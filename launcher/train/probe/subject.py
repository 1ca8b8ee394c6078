"""What a probe tries: a model with the ways of giving it a few examples, and one computation with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from launcher.engine.findings import Layout
from launcher.errors import RunStopped
from launcher.train.model.precision import autocast
from launcher.train.packed.collate import PaddedCollate
from launcher.train.packed.packing import PackedCollate
from launcher.train.process.stop_requests import never
from launcher.train.tasks import MicroBatch, Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import Indices, gather

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What matrix products are computed in, said here a second time, since the first is among what is tried."""


@dataclass(frozen=True)
class Subject:
    """A model on its device, the examples that it is tried with, and how they can be given to it."""

    model: torch.nn.Module
    base: Any
    """The transformers model within."""
    task: Task
    packed: PackedCollate | None
    """None where the model can't take packed examples."""
    padded: PaddedCollate
    split: TokenSplit
    """The examples alone, in memory."""
    precision: str
    device: torch.device
    stop: Callable[[], bool] = never
    """Whether somebody has asked for the end: looked at before each computation."""

    @property
    def examples(self) -> Indices:
        return np.arange(len(self.split), dtype=np.int64)

    @property
    def layout(self) -> Layout:
        """How a training of it is laid out."""
        return "padded" if self.packed is None else "packed"

    def batch(self, layout: str, examples: Indices | None = None) -> MicroBatch:
        """These examples, or all, as a micro-batch. Raises RunStopped where somebody has asked for the end."""
        if self.stop():
            raise RunStopped("stopped while the engine was being tried")
        collate = self.packed if layout == "packed" else self.padded
        assert collate is not None
        return collate(self.split, self.examples if examples is None else examples)

    def first(self, count: int) -> Subject:
        """The same with no more than so many examples."""
        if len(self.split) <= count:
            return self
        return replace(self, split=small_split(self.split, self.examples[:count]))


@dataclass(frozen=True)
class Computed:
    """What came of one micro-batch without dropout."""

    loss: float
    """Sum over its loss terms."""
    rows: torch.Tensor
    """(rows, L) float32 outputs: a row for each sequence, or for each token that the head reads."""
    gradients: dict[str, torch.Tensor]
    """Of each trained parameter that has one."""
    dtype: torch.dtype
    """What the first matrix product gave."""


def small_split(split: TokenSplit, examples: Indices) -> TokenSplit:
    """Some examples of a split, in memory."""
    taken = gather(split, examples)
    counts = taken.sequences
    return TokenSplit(
        ids=taken.ids.astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(taken.lengths)]).astype(np.int64),
        type_ids=None if taken.type_ids is None else taken.type_ids.astype(np.uint8),
        labels=None if split.labels is None else np.asarray(split.labels[examples]),
        sequences=None if counts is None else np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        marks=None if taken.marks is None else taken.marks.astype(np.int32),
        labelled=split.labelled,
    )


def compute(subject: Subject, batch: MicroBatch, precision: str) -> Computed:
    """Forward and backward without dropout; the gradients are taken away from the model again."""
    subject.model.eval()
    parameters = {n: p for n, p in subject.model.named_parameters() if p.requires_grad}
    with _watched(subject.base) as seen:
        with autocast(precision, subject.device):
            output = subject.model(**batch.inputs)
        loss = subject.task.loss_sum(output, batch)
    found: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
        loss, list(parameters.values()), allow_unused=True
    )
    gradients = {
        name: gradient for name, gradient in zip(parameters, found, strict=True) if gradient is not None
    }
    return Computed(float(loss.detach()), rows_of(output, batch), gradients, seen[0])


def rows_of(output: Any, batch: MicroBatch) -> torch.Tensor:
    """The outputs row by row; none of a task that has no logits."""
    if hasattr(output, "logits"):
        values = output.logits
    elif hasattr(output, "start_logits"):
        values = torch.stack([output.start_logits, output.end_logits], -1)
    else:
        return torch.empty(0, 1)
    rows = batch.token_rows(values) if values.dim() == 3 else values.float()
    return rows.detach()


@contextlib.contextmanager
def _watched(model: Any) -> Iterator[list[torch.dtype]]:
    """What type the linear modules of the encoder give, one after the other."""
    seen: list[torch.dtype] = []

    def see(_module: Any, _args: Any, output: torch.Tensor) -> None:
        seen.append(output.dtype)

    linear = [module for module in model.base_model.modules() if isinstance(module, torch.nn.Linear)]
    handles = [module.register_forward_hook(see) for module in linear[:1]]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Length of the difference of two gradients over the length of the expected one."""
    if found.keys() != expected.keys():
        return float("inf")
    apart = sum(float((found[name].float() - expected[name].float()).square().sum()) for name in expected)
    length = sum(float(value.float().square().sum()) for value in expected.values())
    return float((apart / max(length, 1e-30)) ** 0.5)


def factor(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The number that the expected gradient is best multiplied with to give the one found."""
    both = sum(float((found[n].float() * expected[n].float()).sum()) for n in expected if n in found)
    return both / max(sum(float(value.float().square().sum()) for value in expected.values()), 1e-30)


@contextlib.contextmanager
def leaving_no_trace(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Generators, mode and gradients are afterwards what they were."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    modes = {module: module.training for module in model.modules()}
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for parameter, gradient in kept:
                parameter.grad = gradient


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """On a GPU, products and convolutions in fp32 without rounding their factors to TF32."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
