"""The learning rate of a step: warm-up, then the recipe's schedule. Pure, but for reduction on a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from launcher.recipe.train import Decay, Train

TIMESCALE_WITHOUT_WARMUP = 10_000
"""Steps that inverse_sqrt takes for its time scale where there is no warm-up to set it; the value of transformers."""


@dataclass(frozen=True)
class StepCounts:
    """How long a training is, in optimizer steps."""

    per_epoch: int
    total: int
    """Over all epochs."""
    warmup: int
    """Of linear warm-up, at the start."""


def learning_rate(train: Train, step: int, steps: StepCounts) -> float:
    """Learning rate of the 0-based optimizer step: linear warm-up to train.lr, then the schedule."""
    if step < steps.warmup:
        return train.lr * step / steps.warmup
    share = SHAPES[train.schedule](train.decay, step, steps)
    return train.lr * max(share, train.decay.floor if train.schedule != "constant" else 0.0)


def _progress(step: int, steps: StepCounts) -> float:
    """Share of the steps after warm-up that are done."""
    if step >= steps.total:
        return 1.0
    return (step - steps.warmup) / (steps.total - steps.warmup)


def _periods(decay: Decay, step: int, steps: StepCounts) -> float:
    """Times decay.every that have passed since warm-up."""
    every = steps.per_epoch if decay.every == "epoch" else decay.every
    return (step - steps.warmup) / every


def _towards(floor: float, share: float) -> float:
    return floor + (1.0 - floor) * share


def _constant(decay: Decay, step: int, steps: StepCounts) -> float:
    del decay, step, steps
    return 1.0


def _linear(decay: Decay, step: int, steps: StepCounts) -> float:
    return _towards(decay.floor, 1.0 - _progress(step, steps))


def _cosine(decay: Decay, step: int, steps: StepCounts) -> float:
    """Half a period (Loshchilov and Hutter, 2017)."""
    return _towards(decay.floor, 0.5 * (1 + math.cos(math.pi * _progress(step, steps))))


def _polynomial(decay: Decay, step: int, steps: StepCounts) -> float:
    return _towards(decay.floor, (1.0 - _progress(step, steps)) ** decay.power)


def _step(decay: Decay, step: int, steps: StepCounts) -> float:
    return float(decay.factor ** math.floor(_periods(decay, step, steps)))


def _exponential(decay: Decay, step: int, steps: StepCounts) -> float:
    return float(decay.factor ** _periods(decay, step, steps))


def _inverse_sqrt(decay: Decay, step: int, steps: StepCounts) -> float:
    """Vaswani et al. (2017), with the peak at the end of warm-up."""
    del decay
    scale = steps.warmup or TIMESCALE_WITHOUT_WARMUP
    return math.sqrt(scale / (step - steps.warmup + scale))


SHAPES: Mapping[str, Callable[[Decay, int, StepCounts], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "step": _step,
    "exponential": _exponential,
    "inverse_sqrt": _inverse_sqrt,
    "plateau": _constant,  # what the evaluations have cut it to is in the state of the run
}
