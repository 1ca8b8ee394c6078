"""How long an optimizer step takes: arithmetic, bytes moved in memory, launches of operations, and bytes sent. Pure.

A step is never shorter than its floors: arithmetic at the device's peak, memory traffic at its bandwidth, one launch after
the other, and the network's latency. How far above them it lies is an assumption where nothing was measured, so a range stands
beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import (
    FP32,
    Setup,
    activation_bytes,
    adapter_parameters,
    estimate_traffic,
    optimizer_bytes,
    saved_state,
    total_parameters,
    trainable_parameters,
    trained_matrices,
)
from launcher.planning.hardware import HOST, OPERATIONS, DeviceSpeed, Host, Link
from launcher.recipe.optimizers import OPTIMIZERS

MOST_NODES = 1024
WORTH = 0.5
"""More nodes pay as long as each gives at least so much of what a single one gives."""


def step_flops(shape: ModelShape, setup: Setup, *, tokens: int, mean_length: float) -> float:
    """Floating-point operations of forward and backward over `tokens` real tokens.

    `mean_length` is the mean over tokens of their example's length (sum of squares / sum). Forward is 2 per
    weight and token and 4 x hidden x length for attention, backward twice that: 6 per weight in all (Kaplan
    et al. 2020, section 2.1). LoRA skips the weight gradients of frozen matrices, which leaves 4;
    checkpointing computes the layers' forward pass again. Embeddings, norms and heads that read one token
    per example count as nothing.
    """
    attention = 4 * shape.hidden * _attention_lengths(shape, mean_length)
    adapters = adapter_parameters(shape, setup) * (shape.layers // shape.own_layers)
    weights, passes = shape.multiplied_weights, 3 if setup.tuning == "full" else 2
    forward = 2 * (weights + adapters) + attention
    again = forward if setup.gradient_checkpointing else 0
    return tokens * (passes * 2 * weights + 6 * adapters + 3 * attention + again)


def _attention_lengths(shape: ModelShape, mean_length: float) -> float:
    """Tokens that a token attends to, summed over the layers; relative positions score each distance twice."""
    whole = shape.layers if shape.global_layers < 0 else shape.global_layers
    local = (shape.layers - whole) * min(mean_length, shape.local_window)
    distances = 2 * mean_length if shape.relative_span else 0.0
    return whole * mean_length + local + shape.layers * distances


@dataclass(frozen=True)
class Work:
    """One optimizer step's examples, over all ranks."""

    examples: int
    tokens: int
    mean_length: float
    micro_batch_size: int


@dataclass(frozen=True)
class StepTime:
    """Predicted seconds of one optimizer step."""

    compute_s: float
    exchange_s: float
    """Seconds of communication that computation doesn't hide."""
    examples: int

    @property
    def total_s(self) -> float:
        """Seconds from one step to the next."""
        return self.compute_s + self.exchange_s

    @property
    def examples_per_s(self) -> float:
        """Throughput over all ranks."""
        return self.examples / self.total_s


class Planned(NamedTuple):
    """What a plan decides of the speed."""

    setup: Setup
    micro_batch_size: int


@dataclass(frozen=True)
class Prediction:
    """Throughput as a function of the number of nodes, for a global batch that stays the same."""

    shape: ModelShape
    setup: Setup
    """Its `world_size` is ignored."""
    work: Work
    device: DeviceSpeed
    link: Link
    gpus: int = 1
    """Ranks per node."""
    inside: Link | None = None
    """What connects the ranks of one node where there is only one; None means the same `link`."""
    overlap: float = 0.0
    """Share of the backward pass behind which communication can hide (backward is two thirds of the step)."""
    planned: Callable[[int], Planned] | None = None
    """What the plan for a number of nodes is; None means the same set-up and micro-batch on any."""
    ratio: float = 1.0
    """How many times as long as this steps were seen to take."""
    host: Host = HOST
    floor: Prediction | None = None
    """The same with rates that nothing exceeds: no step is predicted to be faster."""

    def step(self, nodes: int) -> StepTime:
        """One step on this many nodes, by what was seen of such steps, and never under the floor."""
        plain = self._step(nodes)
        seen = StepTime(plain.compute_s * self.ratio, plain.exchange_s * self.ratio, plain.examples)
        missing = 0.0 if self.floor is None else self.floor.step(nodes).total_s - seen.total_s
        return replace(seen, compute_s=seen.compute_s + missing) if missing > 0 else seen

    def rank_flops(self, nodes: int) -> float:
        """Floating-point operations of a rank in a step on so many nodes."""
        return self._flops * -(-self.work.examples // (nodes * self.gpus)) / self.work.examples

    def of_work(self, share: float) -> Prediction:
        """The same for a batch of so many times the examples."""
        examples, work = max(1, round(self.work.examples * share)), self.work
        tokens = round(work.tokens * examples / work.examples)
        return replace(self, work=replace(work, examples=examples, tokens=tokens))

    def _step(self, nodes: int) -> StepTime:
        """The slowest rank's work, then what of the exchange shows, then the update."""
        ranks, work = nodes * self.gpus, self.work
        setup, size = self.planned(nodes) if self.planned else Planned(self.setup, work.micro_batch_size)
        setup = replace(setup, world_size=ranks)
        examples = -(-work.examples // ranks)
        micro_batches = -(-examples // size)
        passes = self._passes(setup, examples, micro_batches)
        traffic = estimate_traffic(self.shape, setup, micro_batches=micro_batches)
        link = self.inside if self.inside and nodes == 1 else self.link
        exchange = traffic.hops * link.latency_s + traffic.bytes_per_step / link.bytes_per_s
        # The last sum starts when the backward pass has ended, however well the others hide behind it.
        last = 2 * math.ceil(math.log2(ranks)) * link.latency_s
        exposed = max(last, exchange - self.overlap * passes * 2 / 3)
        return StepTime(passes + self._update(setup) + self.device.fixed_s, exposed, work.examples)

    def _update(self, setup: Setup) -> float:
        """Seconds of the optimizer's step: on the device, or in main memory where its state is offloaded from a GPU."""
        moved = update_bytes(self.shape, setup)
        if not _leaves_gpu(setup):
            return moved / self.device.bytes_per_s + update_flops(self.shape, setup) / self.device.flops_per_s
        own = FP32 * -(-trainable_parameters(self.shape, setup) // setup.world_size)
        seconds = self.gpus * moved / self.host.memory
        if setup.zero_stage < 3:  # where weights are offloaded too, they stay there
            seconds += own / self.host.bus
        if setup.offload == "nvme":
            seconds += self.gpus * 2 * own * (1 + optimizer_bytes(setup) / FP32) / self.host.disk
        return seconds

    def _passes(self, setup: Setup, examples: int, micro_batches: int) -> float:
        """Seconds of all forward and backward passes of a rank in a step."""
        device, share = self.device, examples / self.work.examples
        arithmetic = self._flops * share / device.flops_per_s
        tokens, length = round(self.work.tokens * share), self.work.mean_length
        layers = micro_batches * self.shape.layers
        graphed = setup.graphed and micro_batches == 1
        launches = layers * (OPERATIONS * device.replay_s if graphed else device.layer_launch_s)
        if setup.device == "cpu":  # one after the other
            others = pass_bytes(self.shape, replace(setup, precision="fp32"), tokens, length, micro_batches)
            return arithmetic + others / device.others_bytes_per_s + launches
        # A GPU computes while the host launches what comes next.
        moved = pass_bytes(self.shape, setup, tokens, length, micro_batches)
        carried = offloaded_bytes(self.shape, setup, micro_batches) / self.host.bus
        return max(arithmetic, moved / device.bytes_per_s, launches, carried)

    def efficiency(self, nodes: int) -> float:
        """Speed-up over one node, divided by the number of nodes."""
        return self.step(1).total_s / (nodes * self.step(nodes).total_s)

    def stops_paying(self) -> int | None:
        """The number of nodes at which efficiency falls under WORTH; None where it holds up to MOST_NODES."""
        worth = 1
        while worth * 2 <= MOST_NODES and self.efficiency(worth * 2) >= WORTH:
            worth *= 2
        above = min(worth * 2, MOST_NODES)
        if self.efficiency(above) >= WORTH:
            return None
        while above - worth > 1:
            middle = (worth + above) // 2
            worth, above = (middle, above) if self.efficiency(middle) >= WORTH else (worth, middle)
        return above

    @cached_property
    def _flops(self) -> float:
        work = self.work
        return step_flops(self.shape, self.setup, tokens=work.tokens, mean_length=work.mean_length)


def update_bytes(shape: ModelShape, setup: Setup) -> int:
    """Bytes that the update reads and writes: gradients, then weights and optimizer state, there and back."""
    trained = trainable_parameters(shape, setup)
    own = -(-trained // setup.world_size) if setup.zero_stage else trained
    return own * (FP32 + 2 * (FP32 + optimizer_bytes(setup))) - 2 * saved_state(shape, setup)


def _leaves_gpu(setup: Setup) -> bool:
    return setup.device == "cuda" and setup.zero_stage > 0 and setup.offload != "none"


def offloaded_bytes(shape: ModelShape, setup: Setup, micro_batches: int) -> int:
    """Bytes that a rank carries between GPU and main memory during the passes: gradients down, in stage 3 weights up, twice."""
    if not _leaves_gpu(setup):
        return 0
    down = trainable_parameters(shape, setup)
    up = 2 * total_parameters(shape, setup) if setup.zero_stage == 3 else 0
    return micro_batches * FP32 * -(-max(down, up) // setup.world_size)  # both ways at once


def update_flops(shape: ModelShape, setup: Setup) -> int:
    """Floating-point operations of an update that orthogonalises matrices: three products an iteration (Jordan et al., 2024)."""
    sides = ((count, *sorted(widths)) for count, *widths in trained_matrices(shape, setup))
    once = sum(count * 2 * short * short * (2 * long + short) for count, short, long in sides)
    return OPTIMIZERS[setup.optimizer].iterations * once


def pass_bytes(shape: ModelShape, setup: Setup, tokens: int, length: float, micro_batches: int) -> int:
    """Bytes that forward and backward passes read and write at least: weights and their casts, gradients, activations.

    Each micro-batch reads the matrices forward and backward, casts them once under autocast, and writes the gradients. What
    is kept for the backward pass is written and read once.
    """
    width = FP32 if setup.precision == "fp32" else 2
    cast = 0 if setup.precision == "fp32" else FP32 + width
    weights = shape.multiplied_weights * 2 * width + shape.linear_weights * cast
    gradients = FP32 * trainable_parameters(shape, setup)
    kept = activation_bytes(shape, setup, tokens=tokens, length=max(1, round(length)))
    return micro_batches * (weights + gradients) + 2 * kept
