"""The optimizers, and what a plan must know of each; how they are made: launcher/train/step/optimizers.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Optimizer = Literal["adamw", "adam", "sgd", "rmsprop", "adafactor", "lamb", "muon"]


class OptimizerFacts(NamedTuple):
    """What is known of an optimizer before torch is there."""

    state_bytes: int
    """State for each trained parameter, momentum aside: 8 for two fp32 moments, 4 for one; 0 where there is next to none."""
    matrix_bytes: int | None = None
    """The same for the elements of matrices in the layers and in adapters, where it differs."""
    rate_rule: Literal["root", "linear"] = "root"
    """How the learning rate grows with the batch: with its square root, or in proportion."""
    highest_zero: int = 3
    """The highest ZeRO stage that it works with: 0 where it looks at whole parameters."""
    takes_momentum: bool = False
    """Whether train.momentum is a setting of it."""
    takes_nesterov: bool = False
    captured: bool = False
    """Whether a CUDA graph can hold its step: it keeps its count of steps and takes its learning rate on the device."""
    iterations: int = 0
    """Newton-Schulz iterations in a step on each matrix of the layers and of adapters."""
    harms_pretrained: bool = False
    """Whether weights that were pretrained by Adam lose what they know when all of them are trained by it."""


OPTIMIZERS: Mapping[Optimizer, OptimizerFacts] = {
    "adamw": OptimizerFacts(8, captured=True),
    "adam": OptimizerFacts(8, captured=True),
    "sgd": OptimizerFacts(0, rate_rule="linear", takes_momentum=True, takes_nesterov=True),
    "rmsprop": OptimizerFacts(4, takes_momentum=True),
    "adafactor": OptimizerFacts(0, highest_zero=0),
    "lamb": OptimizerFacts(8, highest_zero=0),
    "muon": OptimizerFacts(8, matrix_bytes=4, highest_zero=0, iterations=5, harms_pretrained=True),
}
