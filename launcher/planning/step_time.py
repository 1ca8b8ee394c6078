"""How long an optimizer step takes: arithmetic, bytes moved in memory, launches of operations, and bytes sent. Pure.

A step is never shorter than its floors: arithmetic at the device's peak, memory traffic at its bandwidth, one launch after
the other, and the network's latency. How far above them it lies is an assumption where nothing was measured, so a range stands
beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
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
from launcher.recipe.optimizers import OPTIMIZERS

OPERATIONS = 170
"""Operations that one layer issues, forward and backward: a 12-layer step issues 1,900 to 2,500 in all."""


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
class Device:
    """A kind of device; peaks are dense, in floating-point operations a second."""

    memory: int
    half_flops: float
    fp32_flops: float
    bytes_per_s: float = math.inf
    """Memory bandwidth."""
    others_bytes_per_s: float = math.inf
    """Traffic in fp32 of all that is no matrix product, where that takes its time beside them and not meanwhile."""
    has_bf16: bool = True
    achievable: float = 0.4
    """Share of the peak that training reaches: an assumption near Megatron-LM's 44% for its smallest model
    (Narayanan et al. 2021, table 1)."""
    layer_launch_s: float = OPERATIONS * 12e-6
    """Host time to launch one layer's operations, forward and backward: 12 microseconds each, 24 ms for 12 layers."""
    measured: str | None = None
    """On what the rates were measured; None where they come from a datasheet alone."""


SLICE = re.compile(r"MIG|\d+G\.\d+GB")
"""By which words the name of a part of a GPU is told, as in `A100-1g.5gb`: it has neither its rates nor its memory."""
CPU = "CPU"
# Peaks and bandwidths are those of NVIDIA's datasheets, without sparsity.
DEVICES = {
    "H200": Device(141 * 10**9, 989e12, 67e12, 4.8e12),
    "H100-PCIE": Device(80 * 10**9, 756e12, 51e12, 2.0e12),
    "H100": Device(80 * 10**9, 989e12, 67e12, 3.35e12),
    "A100-80GB": Device(80 * 10**9, 312e12, 19.5e12, 2.039e12),
    "A100": Device(40 * 10**9, 312e12, 19.5e12, 1.555e12),
    "V100": Device(16 * 10**9, 125e12, 15.7e12, 0.9e12, has_bf16=False),
    "L40S": Device(48 * 10**9, 362e12, 91.6e12, 0.864e12),
    "T4": Device(16 * 10**9, 65e12, 8.1e12, 0.32e12, has_bf16=False),
    # One core with AVX512-BF16, between a Xeon (products at 440 GFLOP/s in bf16, 103 in fp32) and an EPYC (185, 88), and above
    # both in fp32 since the last layer is computed for few tokens. bf16 shortens nothing but products: the rest takes both the
    # same time, which on the EPYC is half of a step in bf16.
    CPU: Device(
        0,
        440e9,
        165e9,
        bytes_per_s=12e9,
        others_bytes_per_s=3.5e9,
        achievable=0.65,
        layer_launch_s=5e-3,
        measured="server cores with AVX512-BF16",
    ),
}
# One core of an EPYC that has no more than AVX2, from steps of three models on 1, 2 and 4 ranks (benchmarks/predicted.py).
PLAIN_CPU = replace(
    DEVICES[CPU],
    fp32_flops=107e9,
    others_bytes_per_s=1.6e9,
    layer_launch_s=10e-3,
    measured="server cores with AVX2",
)


def known_device(name: str) -> Device | None:
    """The device that a name such as `NVIDIA H200` or `a100` means, or None."""
    key = device_key(name)
    return None if key is None else DEVICES[key]


def device_key(name: str) -> str | None:
    """What such a device is called in the table, or None."""
    words = re.split(r"[\s_-]+", name.upper())
    if any(SLICE.fullmatch(word) for word in words):
        return None
    named = (key for key in DEVICES if all(any(_means(w, part) for w in words) for part in key.split("-")))
    return next(named, None)


def _means(word: str, part: str) -> bool:
    """Whether a word is that part of a name, whatever letters follow: a T400 is no T4, and an A1000 no A100."""
    return word.startswith(part) and not word[len(part) : len(part) + 1].isdecimal()


@dataclass(frozen=True)
class DeviceSpeed:
    """What one rank computes with: rates, and times that don't shrink with the work."""

    flops_per_s: float
    fixed_s: float = 0.0
    """Seconds of every optimizer step whatever its size: clipping, logging."""
    layer_launch_s: float = 0.0
    """Seconds of a layer in a micro-batch, forward and backward, that don't shrink with its work."""
    bytes_per_s: float = math.inf
    """Memory traffic."""
    others_bytes_per_s: float = math.inf
    """Traffic in fp32 of all that is no product; infinite where the rate was fitted to whole passes, which contain it."""
    replay_s: float = 0.0
    """Seconds from one operation of a CUDA graph to the next: an assumption."""

    @classmethod
    def of(cls, device: Device, precision: str, units: int = 1, luck: Luck | None = None) -> DeviceSpeed:
        """A device's achievable speed; `units` is the number of cores of a CPU, `luck` where in the range it is looked for."""
        share = luck or EXPECTED
        half = precision == "fp16" or (precision == "bf16" and device.has_bf16)
        peak = device.half_flops if half else device.fp32_flops
        return cls(
            min(1.0, device.achievable * share.arithmetic) * peak * units,
            layer_launch_s=device.layer_launch_s * share.launches,
            bytes_per_s=device.bytes_per_s * share.bandwidth * units,
            others_bytes_per_s=device.others_bytes_per_s * share.arithmetic * units,
            replay_s=1e-6 * share.launches,
        )


class Luck(NamedTuple):
    """How the achievable rates may turn out, as multiples of what is expected or shares of the peak: assumptions."""

    arithmetic: float
    """Multiple of the achievable share of the peak."""
    bandwidth: float
    """Share of the memory's bandwidth."""
    launches: float
    """Multiple of the time of a launch."""


EXPECTED = Luck(1.0, 0.8, 1.0)
BEST = Luck(1.5, 1.0, 0.5)
WORST = Luck(0.5, 0.5, 2.0)


@dataclass(frozen=True)
class Link:
    """A connection between ranks; between nodes of several ranks, the node's whole network bandwidth."""

    latency_s: float
    bytes_per_s: float


class Host(NamedTuple):
    """What a node updates offloaded weights with, in bytes a second."""

    bus: float
    """Between a GPU and main memory, each way."""
    memory: float
    """Of main memory, for all ranks of the node together."""
    disk: float
    """Of what zero.offload=nvme writes to, likewise."""


# Assumptions but for the peaks: PCIe 4.0, 5.0 and 3.0 with 16 lanes; an update by the cores of two sockets, twenty-four channels
# of DDR5-4800, and a few cores; one NVMe disk, four in a row, and a slow one.
HOST = Host(25e9, 120e9, 3e9)
FASTEST_HOST = Host(64e9, 920e9, 28e9)
SLOWEST_HOST = Host(10e9, 40e9, 1e9)


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

    def stops_paying(self, limit: int = 1024, least: float = 0.5) -> int | None:
        """The number of nodes at which efficiency falls under `least`; None where it holds up to `limit`."""
        worth = 1
        while worth * 2 <= limit and self.efficiency(worth * 2) >= least:
            worth *= 2
        above = min(worth * 2, limit)
        if self.efficiency(above) >= least:
            return None
        while above - worth > 1:
            middle = (worth + above) // 2
            worth, above = (middle, above) if self.efficiency(middle) >= least else (worth, middle)
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


def fit_device(points: Sequence[tuple[float, float]]) -> DeviceSpeed:
    """Speed and fixed time from measured (operations, seconds) of steps on one rank, by least squares."""
    rate, fixed = _fit([(flops, 1.0, seconds) for flops, seconds in points])
    return DeviceSpeed(1 / rate if rate else math.inf, fixed)


def fit_link(points: Sequence[tuple[int, int, float]]) -> Link:
    """Latency and bandwidth from measured (hops, bytes per rank, seconds) of exchanges, by least squares."""
    latency, slowness = _fit([(float(hops), float(sent), seconds) for hops, sent, seconds in points])
    return Link(latency, 1 / slowness if slowness else math.inf)


def _fit(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Least squares for a x + b y = z with neither a nor b negative."""
    xx, xy, yy, xz, yz = (
        sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2))
    )
    determinant = xx * yy - xy * xy
    if determinant > 1e-12 * xx * yy:
        a, b = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
        if a >= 0 and b >= 0:
            return a, b
    only_a, only_b = (xz / xx if xx else 0.0, 0.0), (0.0, yz / yy if yy else 0.0)
    return min((only_a, only_b), key=lambda ab: sum((ab[0] * x + ab[1] * y - z) ** 2 for x, y, z in rows))
