"""What was seen of a device against what is assumed of it: steps of the same kind of training, else rates of a probe. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from launcher.engine.speeds import Point, Rates
from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import Setup
from launcher.planning.hardware import CPU, DEVICES, DeviceSpeed, Link, Luck, device_key, fit_device

SPREAD = 1.25
"""Least ratio of the work of two points that a line is drawn through: nearer ones say more of noise than of work."""
MOST_BEYOND = 4.0
"""A line holds for so many times the work that was seen, or one in so many."""
NEWEST = 3
"""Points of one amount of work that count."""
LARGE_VOCABULARY = 20_000
"""Smaller ones cost little beside the layers."""

RANGES = {"runs": 1.15, "probe": 1.5}
"""How far off a prediction may be, by what it rests on: an assumption, which the benchmark holds against measured steps."""


def label(device: str) -> str:
    """A GPU's name in our table, or a device's own where it has none there: `NVIDIA H100 80GB HBM3` is an `H100`."""
    key = device_key(device)
    return device if key in (None, CPU) else key


def kind_of(
    device: str, shape: ModelShape, setup: Setup, *, nodes: int, gpus: int, cores: int
) -> dict[str, str]:
    """What steps must have in common to be compared: all but the batch."""
    # A vocabulary that is made from the data is known only on the node.
    words = shape.vocab if shape.vocab >= LARGE_VOCABULARY else "few"
    sizes = (shape.layers, shape.hidden, shape.heads, shape.intermediate, words)
    adapters = f"{setup.lora_r} {setup.lora_targets} {setup.dora}" if setup.tuning == "lora" else ""
    frozen = (setup.train_embeddings, setup.frozen_embeddings, setup.frozen_layers)
    return {
        "device": label(device),
        "cores": str(cores) if setup.device == "cpu" else "",
        "ranks": f"{nodes}x{gpus}",
        "model": f"{shape.family.name} {'x'.join(map(str, sizes))}",
        "precision": setup.precision,
        "tuning": f"{setup.tuning} {adapters} {frozen}",
        "sharding": f"{setup.zero_stage} {setup.offload}",
        "step": f"{setup.optimizer} {setup.averaged} {setup.passes} {setup.gradient_checkpointing}",
        "kernels": f"{setup.graphed} {setup.dropout}",
    }


def _newest(points: Sequence[Point]) -> Iterator[Point]:
    """The last few of each amount of work, which say most of what the device is like now."""
    of_work: dict[float, list[Point]] = {}
    for point in points:
        of_work.setdefault(point.flops, []).append(point)
    for alike in of_work.values():
        yield from alike[-NEWEST:]


@dataclass(frozen=True)
class Line:
    """Seconds of a step as a line of its work, through what was seen."""

    rate: float
    fixed_s: float

    def seconds(self, flops: float) -> float:
        """Of a step with so many operations a rank."""
        return flops / self.rate + self.fixed_s


def seen_seconds(points: Sequence[Point], flops: float, assumed: Callable[[float], float]) -> float | None:
    """Seconds of a step of so many operations a rank by what was seen, None where nothing was.

    Through steps of different work goes a line; of one amount of work, they say how far off `assumed` is.
    """
    if not points:
        return None
    points = list(_newest(points))
    least, most = min(p.flops for p in points), max(p.flops for p in points)
    if most >= SPREAD * least and least / MOST_BEYOND <= flops <= most * MOST_BEYOND:
        speed = fit_device([(p.flops, p.seconds) for p in points])
        if math.isfinite(speed.flops_per_s):
            return Line(speed.flops_per_s, speed.fixed_s).seconds(flops)
    near = sorted(points, key=lambda p: abs(math.log(p.flops / flops)))[:NEWEST] if flops > 0 else points
    return assumed(flops) * statistics.median(p.seconds / assumed(p.flops) for p in near)


def probed_speed(rates: Rates, luck: Luck | None, *, graphed_replay_s: float = 0.0) -> DeviceSpeed:
    """A device's speed as a probe has measured it; with `luck`, at one end of its range."""
    wide = RANGES["probe"]
    share = 1.0 if luck is None else (wide if luck.arithmetic > 1 else 1 / wide)
    return DeviceSpeed(
        rates.flops_per_s * share,
        layer_launch_s=rates.layer_launch_s / share,
        bytes_per_s=rates.bytes_per_s * share,
        replay_s=graphed_replay_s,
    )


def probed_link(rates: Rates, assumed: Link) -> Link:
    """What connects the ranks of a node, as a probe has measured it."""
    if rates.latency_s is None or not rates.link_bytes_per_s:
        return assumed
    return Link(rates.latency_s, rates.link_bytes_per_s)


def floor_speed(device: str, precision: str) -> DeviceSpeed | None:
    """What no step on a device of the table undercuts: its peak, its bandwidth, and the fastest launches known."""
    found = DEVICES.get(label(device))
    if found is None or not found.memory:
        return None
    half = precision == "fp16" or (precision == "bf16" and found.has_bf16)
    return DeviceSpeed(
        found.half_flops if half else found.fp32_flops,
        layer_launch_s=found.layer_launch_s / 4,
        bytes_per_s=found.bytes_per_s,
        replay_s=0.25e-6,
    )
