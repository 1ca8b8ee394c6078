"""The learning rate of a step: warm-up, then the recipe's schedule. Pure, but for reduction on a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from launcher.recipe.train import Decay, Train

UNHURRIED = 10_000
"""Time scale of inverse_sqrt in steps where there is no warm-up to set it, as in transformers."""


@dataclass(frozen=True)
class Horizon:
    """How long a training is, in optimizer steps."""

    total: int
    warmup: int
    """Steps of linear warm-up."""
    per_epoch: int


def learning_rate(train: Train, step: int, horizon: Horizon) -> float:
    """Learning rate of the 0-based optimizer step: linear warm-up to train.lr, then the schedule."""
    if step < horizon.warmup:
        return train.lr * step / horizon.warmup
    share = SHAPES[train.schedule](train.decay, step, horizon)
    return train.lr * max(share, train.decay.floor if train.schedule != "constant" else 0.0)


def _progress(step: int, horizon: Horizon) -> float:
    """Share of the steps after warm-up that are done."""
    if step >= horizon.total:
        return 1.0
    return (step - horizon.warmup) / (horizon.total - horizon.warmup)


def _periods(decay: Decay, step: int, horizon: Horizon) -> float:
    """Times decay.every that have passed since warm-up."""
    every = horizon.per_epoch if decay.every == "epoch" else decay.every
    return (step - horizon.warmup) / every


def _towards(floor: float, share: float) -> float:
    return floor + (1.0 - floor) * share


def _constant(decay: Decay, step: int, horizon: Horizon) -> float:
    del decay, step, horizon
    return 1.0


def _linear(decay: Decay, step: int, horizon: Horizon) -> float:
    return _towards(decay.floor, 1.0 - _progress(step, horizon))


def _cosine(decay: Decay, step: int, horizon: Horizon) -> float:
    """Half a period (Loshchilov and Hutter, 2017)."""
    return _towards(decay.floor, 0.5 * (1 + math.cos(math.pi * _progress(step, horizon))))


def _polynomial(decay: Decay, step: int, horizon: Horizon) -> float:
    return _towards(decay.floor, (1.0 - _progress(step, horizon)) ** decay.power)


def _step(decay: Decay, step: int, horizon: Horizon) -> float:
    return float(decay.factor ** math.floor(_periods(decay, step, horizon)))


def _exponential(decay: Decay, step: int, horizon: Horizon) -> float:
    return float(decay.factor ** _periods(decay, step, horizon))


def _inverse_sqrt(decay: Decay, step: int, horizon: Horizon) -> float:
    """Vaswani et al. (2017), with the peak at the end of warm-up."""
    del decay
    scale = horizon.warmup or UNHURRIED
    return math.sqrt(scale / (step - horizon.warmup + scale))


SHAPES: Mapping[str, Callable[[Decay, int, Horizon], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "step": _step,
    "exponential": _exponential,
    "inverse_sqrt": _inverse_sqrt,
    "plateau": _constant,  # what the evaluations have cut it to is in the state of the run
}
