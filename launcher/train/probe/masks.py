"""Dropout as the model draws it: how often it drops, and whether masks of two rows, heads or steps have to do with each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from launcher.engine.findings import Of, Part
from launcher.train.model.family import family_of
from launcher.train.packed.attention import attend, flash_dropout, takes_flash_kernel
from launcher.train.packed.packing import Packing
from launcher.train.probe.subject import DTYPES, Subject

DRAWN = 2**16
"""Elements of a mask that is looked at."""
SIGMAS = 6.0
"""A share is wrong where it is so many standard deviations off: by chance one probe in 500 million."""
ROWS = 64
WIDTH = 16
"""Of the heads, and tokens of an example, in which the dropout of attention is looked at."""

Draw = Callable[[], torch.Tensor]
"""A new mask (rows, columns): True where a value was kept."""


def dropout_parts(subject: Subject) -> Iterator[Part]:
    """What is tried of every kind of dropout that this model has."""
    found = {
        (type(m), m.p): m for m in subject.model.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0
    }
    modules = list(found.values())
    if not modules and not attention_rate(subject):
        yield Part("dropout", "dropout", "not tried", "this model has none")
    for module in modules:
        yield from _judged("hidden dropout", "dropout", module.p, partial(_of_module, module, subject))
    rate = attention_rate(subject)
    if rate and subject.packed is not None:
        on_gpu = takes_flash_kernel(subject.device, DTYPES[subject.precision], WIDTH)
        drawn = flash_dropout(rate) if on_gpu else rate
        yield from _judged("attention dropout", "packed", drawn, partial(_of_attention, rate, subject))
    if rate or modules:
        yield steps(subject)


def attention_rate(subject: Subject) -> float:
    """Probability that an attention weight is dropped."""
    config = subject.base.config
    keys = family_of(config).dropout.attention
    return float(next((getattr(config, key) for key in keys if hasattr(config, key)), 0.0) or 0.0)


def _judged(name: str, of: Of, p: float, draw: Draw) -> Iterator[Part]:
    torch.manual_seed(20)
    one, other = draw(), draw()
    torch.manual_seed(20)
    again = draw()
    yield _rate(name, of, p, one)
    yield _independence(name, of, p, one, other, again)


def _rate(name: str, of: Of, p: float, mask: torch.Tensor) -> Part:
    share, limit = 1.0 - float(mask.float().mean()), _limit(p, mask.numel()) + 2.0**-16
    text = f"drops {share:.2%} where {p:.2%} are wanted"
    return Part(f"rate of {name}", of, "right" if abs(share - p) <= limit else "wrong", text)


def _limit(p: float, count: int) -> float:
    return SIGMAS * math.sqrt(p * (1 - p) / count)


def _independence(
    name: str, of: Of, p: float, one: torch.Tensor, other: torch.Tensor, again: torch.Tensor
) -> Part:
    """Neighbours, rows and draws agree as often as chance has it; the same seed gives the same mask."""
    name = f"independence of {name}"
    if not torch.equal(one, again):
        return Part(name, of, "wrong", "the same seed gives two masks")
    half = len(one) // 2
    pairs = {
        "two rows": (one[:half], one[half : 2 * half]),
        "neighbouring rows": (one[:-1], one[1:]),
        "neighbouring columns": (one[:, :-1], one[:, 1:]),
        "two draws": (one, other),
    }
    chance = p * p + (1 - p) * (1 - p)
    for what, (left, right) in pairs.items():
        same = float((left == right).float().mean())
        if abs(same - chance) > _limit(chance, left.numel()) + 2.0**-15:
            return Part(name, of, "wrong", f"masks of {what} agree in {same:.1%}, by chance in {chance:.1%}")
    return Part(name, of, "right", f"masks agree by chance, in {chance:.1%}")


def _of_module(module: torch.nn.Module, subject: Subject) -> torch.Tensor:
    module.train()
    ones = torch.ones(ROWS, DRAWN // ROWS, device=subject.device, dtype=torch.float32)
    with torch.no_grad():
        dropped: torch.Tensor = module(ones)
    return dropped != 0


def _of_attention(p: float, subject: Subject) -> torch.Tensor:
    """Uniform weights over as many tokens as a value is wide, each value marking one token: outputs show the masks."""
    heads, width = 4, WIDTH
    sequences = DRAWN // (heads * width * width)
    lengths = torch.full((sequences,), width)
    starts = torch.from_numpy(np.arange(sequences + 1, dtype=np.int32) * width).to(subject.device)
    kind = DTYPES[subject.precision] if subject.device.type == "cuda" else torch.float32
    zeros = torch.zeros(sequences * width, heads, width, device=subject.device, dtype=kind)
    marks = torch.eye(width, device=subject.device, dtype=kind).repeat(sequences, 1)[:, None].expand_as(zeros)
    with torch.no_grad():
        shown = attend(zeros, zeros, marks.contiguous(), Packing(lengths, starts), scale=1.0, dropout=p)
    return shown.reshape(-1, width) != 0


def steps(subject: Subject) -> Part:
    """Two steps drop other things, and the same step the same."""
    few = subject.first(2)
    batch = few.batch(few.layout)
    few.model.train()

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        with torch.no_grad():
            return float(few.task.loss_sum(few.model(**batch.inputs), batch))

    first, second, again = loss(1), loss(2), loss(1)
    name = "dropout of steps"
    if first == second:
        return Part(name, "dropout", "wrong", "two steps drop the same")
    if not math.isclose(first, again, rel_tol=1e-5, abs_tol=1e-7):
        return Part(name, "dropout", "wrong", "the same step twice drops other things")
    return Part(name, "dropout", "right", "each step draws anew, and the same step the same")
