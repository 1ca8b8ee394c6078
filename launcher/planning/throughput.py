"""How fast a plan will be on any number of nodes, and what would make more nodes worth it. Pure, and an estimate.

The device's rate and the links are assumptions, named with the prediction; `benchmarks/scaling.py` fits them to a machine,
and result.json puts the measured step beside the predicted one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from launcher.engine.machine import PLAIN_UNIT
from launcher.engine.speeds import NOTHING, Known, Point, Rates
from launcher.families.shared.base import ModelShape
from launcher.figures import quantity
from launcher.planning.estimate import Setup
from launcher.planning.hardware import (
    BEST,
    FASTEST_HOST,
    PLAIN_CPU,
    SLOWEST_HOST,
    WORST,
    Device,
    DeviceSpeed,
    Link,
    Luck,
    known_device,
)
from launcher.planning.measured_speed import (
    RANGES,
    floor_speed,
    kind_of,
    label,
    probed_link,
    probed_speed,
    seen_seconds,
)
from launcher.planning.step_time import MOST_NODES, Planned, Prediction, Work
from launcher.recipe.fields import Record
from launcher.tasks.shared.words import CHARACTERS_PER_TOKEN

UNLISTED = Device(0, 100e12, 20e12, 0.5e12)
"""Stands for a device outside the table of which steps were seen: it only says how steps of two sizes compare."""
SPECIAL_TOKENS = 2
LINKS = {
    "cuda": Link(20e-6, 25e9),  # 200 Gbit/s InfiniBand
    "cpu": Link(100e-6, 1e9),  # 10 Gbit/s Ethernet through gloo
}
"""Assumed between nodes."""
INSIDE = {"cuda": Link(10e-6, 200e9), "cpu": Link(100e-6, 2e9)}
"""Assumed within a node: NVLink, or shared memory."""
OVERLAP = {"cuda": 0.8, "cpu": 0.0}
"""Assumed share of the backward pass behind which sums over ranks hide; on CPUs they take the same cores."""
IMITATED_BF16 = 3
"""How much slower than fp32 a CPU is in bf16 that it only imitates, at least."""
MORE_EXAMPLES = 4
"""How many times batch.global the advice looks at."""


class Throughput(Record):
    """Predicted speed; all None where the model's shape, the length of the texts or the device is not known."""

    step_s: float | None = None
    fastest_step_s: float | None = None
    """With the best of the assumed rates: no faster than memory, launches and network allow."""
    slowest_step_s: float | None = None
    """With the worst of the assumed rates."""
    measured_on: str | None = None
    """What the device's rates were measured on; None where they come from its datasheet alone."""
    examples_per_s: float | None = None
    tokens_per_example: float | None = None
    """Guessed from the characters of the data."""
    device: str | None = None
    """What one rank is assumed to compute with."""
    by_nodes: tuple[tuple[int, float], ...] = ()
    """(nodes, examples a second) of the plan that each number of nodes would get, with the recipe's global batch."""
    stops_paying: int | None = None
    """Nodes at which each adds less than half of what the first gives; None up to 1,024."""
    advice: tuple[str, ...] = ()
    """What would make more nodes worth it."""


@dataclass(frozen=True)
class Facts:
    """What the prediction needs to know besides model and set-up."""

    examples: int
    """In a global batch."""
    max_length: int
    mean_chars: float | None
    nodes: int
    gpus: int
    gpu_model: str | None
    cores: int
    """Cores of a rank on a CPU."""
    sequences: int = 1
    """Of an example."""
    shared: int | None = None
    """Tokens that neighbouring windows of a text longer than `max_length` have in common; None where it is cut off."""
    tokens_each: float | None = None
    """Mean tokens of an example where that is known; None guesses them."""
    pretrained: bool = True
    """Whether adapters could take the place of full training: not on random weights."""
    native_bf16: bool = True
    """Whether a CPU computes in bf16 itself."""
    crowded: float = 1.0
    """Ranks of a CPU that share a core, at least one."""
    cpu: str | None = None
    """What the CPU calls itself, where it is known which one trains."""
    known: Known = NOTHING
    """What was seen of devices before."""


@dataclass(frozen=True)
class Variant:
    """A recipe with other nodes, another global batch or another tuning."""

    nodes: int
    examples: int
    tuning: Literal["full", "lora"]


PlanOf = Callable[[Variant], Planned]
"""What is planned for a variant of the recipe."""


def predict(
    shape: ModelShape | None, facts: Facts, tuning: Literal["full", "lora"], plan_of: PlanOf
) -> Throughput:
    """The speed of a plan."""
    setup = plan_of(Variant(facts.nodes, facts.examples, tuning)).setup
    name, device, length = _device_name(setup.device, facts), _device(setup.device, facts), mean_length(facts)
    if shape is None or name is None or device is None or length is None:
        return Throughput()
    assumed = _prediction(shape, facts, Variant(1, facts.examples, tuning), plan_of, length)
    seen = _points(shape, facts, setup)
    prediction = _as_seen(assumed, facts, seen)
    step = prediction.step(facts.nodes)
    fastest_s, slowest_s = _range(prediction, facts, is_seen=bool(seen))
    return Throughput(
        step_s=step.total_s,
        fastest_step_s=fastest_s,
        slowest_step_s=slowest_s,
        measured_on=_measured_on(shape, facts, setup, device, len(seen)),
        examples_per_s=step.examples_per_s,
        tokens_per_example=length,
        device=f"{facts.cores} CPU cores" if name == "CPU" else name,
        by_nodes=tuple((nodes, prediction.step(nodes).examples_per_s) for nodes in _node_counts(facts.nodes)),
        stops_paying=prediction.stops_paying(),
        advice=tuple(_advice(prediction, facts, Variant(1, facts.examples, tuning), plan_of, length)),
    )


def step_seconds(shape: ModelShape, facts: Facts, planned: Planned) -> float | None:
    """Predicted seconds of a step of what is planned; None where the device or the length of the texts is not known."""
    setup, length = planned.setup, mean_length(facts)
    if length is None or _device(setup.device, facts) is None:
        return None
    variant = Variant(facts.nodes, facts.examples, setup.tuning)
    assumed = _prediction(shape, facts, variant, lambda _: planned, length)
    return _as_seen(assumed, facts, _points(shape, facts, setup)).step(facts.nodes).total_s


def training_kind(shape: ModelShape, facts: Facts, setup: Setup) -> dict[str, str] | None:
    """What a step of this training has in common with others that it can be compared with; None on a device without a name."""
    device = facts.cpu if setup.device == "cpu" else facts.gpu_model
    if device is None:
        return None
    return kind_of(device, shape, setup, nodes=facts.nodes, gpus=facts.gpus, cores=facts.cores)


def planned_point(shape: ModelShape, facts: Facts, planned: Planned, seconds: float) -> Point | None:
    """A measured step beside the work that is planned for it; None where the length of the texts isn't known."""
    length = mean_length(facts)
    if length is None:
        return None
    variant = Variant(facts.nodes, facts.examples, planned.setup.tuning)
    flops = _prediction(shape, facts, variant, lambda _: planned, length).rank_flops(facts.nodes)
    return Point(flops, seconds)


def _points(shape: ModelShape, facts: Facts, setup: Setup) -> tuple[Point, ...]:
    kind = training_kind(shape, facts, setup)
    return () if kind is None else facts.known.points(kind)


def _as_seen(assumed: Prediction, facts: Facts, points: Sequence[Point]) -> Prediction:
    """A prediction brought to what steps of its kind were seen to take."""
    bare, nodes = replace(assumed, floor=None), facts.nodes
    flops = bare.rank_flops(nodes)
    seen = seen_seconds(points, flops, lambda work: bare.of_work(work / flops).step(nodes).total_s)
    return assumed if seen is None else replace(assumed, ratio=seen / bare.step(nodes).total_s)


def _range(prediction: Prediction, facts: Facts, *, is_seen: bool) -> tuple[float, float]:
    """Seconds that a step takes at best and at worst."""
    seconds = prediction.step(facts.nodes).total_s
    if is_seen:
        wide = RANGES["runs"]
        least = 0.0 if prediction.floor is None else prediction.floor.step(facts.nodes).total_s
        return min(seconds, max(least, seconds / wide)), seconds * wide
    best, worst = (_with_luck(prediction, facts, luck).step(facts.nodes) for luck in (BEST, WORST))
    # At the floor all of them are the same sum, up to the order in which it is added.
    return min(seconds, best.total_s), max(seconds, worst.total_s)


def _measured_on(shape: ModelShape, facts: Facts, setup: Setup, device: Device, runs: int) -> str | None:
    if runs:
        return f"such a device, in {quantity(runs, 'run')} of this model"
    if _rates(shape, facts, setup) is not None:
        return "such a device, by a probe of its engine"
    return device.measured


def _rates(shape: ModelShape, facts: Facts, setup: Setup) -> Rates | None:
    name = facts.cpu if setup.device == "cpu" else facts.gpu_model
    ranks = facts.gpus if setup.device == "cpu" else 1
    if name is None:
        return None
    return facts.known.rates_of(label(name), setup.precision, ranks, shape.hidden)


def mean_length(facts: Facts) -> float | None:
    """Tokens of an example with all its windows, guessed from its characters; None where nobody knows these."""
    if facts.tokens_each is not None or facts.mean_chars is None:
        return facts.tokens_each
    special, most = SPECIAL_TOKENS * facts.sequences, facts.max_length * facts.sequences
    length = facts.mean_chars / CHARACTERS_PER_TOKEN + special
    if facts.shared is None or length <= most:
        return min(most, length)
    again = facts.shared + SPECIAL_TOKENS  # what each window beyond the first computes once more
    return length + (length - most) / max(1, facts.max_length - again) * again


def _device_name(kind: str, facts: Facts) -> str | None:
    return "CPU" if kind == "cpu" else facts.gpu_model


def _device(kind: str, facts: Facts) -> Device | None:
    name = _device_name(kind, facts)
    if name is None:
        return None
    if kind == "cpu" and (facts.cpu or "").endswith(f", {PLAIN_UNIT}"):
        return PLAIN_CPU
    seen = {each.kind.get("device") for each in facts.known.steps} | {r.device for r in facts.known.rates}
    return known_device(name) or (UNLISTED if label(name) in seen else None)


def _prediction(
    shape: ModelShape, facts: Facts, variant: Variant, plan_of: PlanOf, length: float
) -> Prediction:
    """The speed of a variant on any number of nodes, each with the plan that it would get."""
    setup, micro_batch_size = plan_of(variant)
    kind, examples, rates = setup.device, variant.examples, _rates(shape, facts, setup)
    prediction = Prediction(
        shape=shape,
        setup=setup,
        work=Work(examples, round(examples * length), min(length, facts.max_length), micro_batch_size),
        device=_device_speed(shape, setup, facts, None),
        link=LINKS[kind],
        gpus=facts.gpus,
        inside=INSIDE[kind] if rates is None else probed_link(rates, INSIDE[kind]),
        overlap=OVERLAP[kind],
        planned=functools.cache(lambda nodes: plan_of(replace(variant, nodes=nodes))),
    )
    return _floored(prediction, facts)


def _floored(prediction: Prediction, facts: Facts) -> Prediction:
    """The prediction with its floor, where the device stands in the table."""
    setup, inside = prediction.setup, prediction.inside
    if setup.device == "cpu" or facts.gpu_model is None or inside is None:
        return prediction
    speed = floor_speed(facts.gpu_model, setup.precision)
    if speed is None:
        return prediction
    link, near = (
        Link(each.latency_s * BEST.launches, each.bytes_per_s) for each in (LINKS["cuda"], INSIDE["cuda"])
    )
    floor = replace(prediction, device=speed, link=link, inside=near, host=FASTEST_HOST)
    return replace(prediction, floor=floor)


def _device_speed(shape: ModelShape, setup: Setup, facts: Facts, luck: Luck | None) -> DeviceSpeed:
    rates, kind, precision = _rates(shape, facts, setup), setup.device, setup.precision
    if rates is not None:
        return probed_speed(rates, luck, graphed_replay_s=1e-6 if kind == "cuda" else 0.0)
    device = _device(kind, facts) or UNLISTED
    if kind == "cpu" and not facts.native_bf16:
        device = replace(device, half_flops=device.fp32_flops / IMITATED_BF16)
    speed = DeviceSpeed.of(device, precision, facts.cores if kind == "cpu" else 1, luck)
    crowded = facts.crowded if kind == "cpu" else 1.0
    return replace(
        speed,
        flops_per_s=speed.flops_per_s / crowded,
        layer_launch_s=speed.layer_launch_s * crowded,
        bytes_per_s=speed.bytes_per_s / crowded,
        others_bytes_per_s=speed.others_bytes_per_s / crowded,
    )


def _with_luck(prediction: Prediction, facts: Facts, luck: Luck) -> Prediction:
    """The same prediction at one end of its range."""
    setup, link, inside = prediction.setup, prediction.link, prediction.inside
    assert inside is not None
    return replace(
        prediction,
        device=_device_speed(prediction.shape, setup, facts, luck),
        link=Link(link.latency_s * luck.launches, link.bytes_per_s * luck.bandwidth),
        inside=Link(inside.latency_s * luck.launches, inside.bytes_per_s * luck.bandwidth),
        host=FASTEST_HOST if luck is BEST else SLOWEST_HOST,
    )


def _node_counts(nodes: int) -> list[int]:
    """Powers of two up to four times as many nodes as planned, at least to eight, and the planned number."""
    most = min(MOST_NODES, max(8, 4 * nodes))
    return sorted({nodes, *(2**power for power in range(int(math.log2(most)) + 1))})


def _advice(
    prediction: Prediction, facts: Facts, now: Variant, plan_of: PlanOf, length: float
) -> Iterator[str]:
    """Other recipes for which more nodes pay, each with the number of nodes up to which they do."""
    most = prediction.stops_paying()
    if most is None:
        return
    examples = MORE_EXAMPLES * facts.examples
    larger = f"batch.global={examples} (accumulated if memory is short)"
    others = {larger: replace(now, examples=examples)}
    if now.tuning == "full" and facts.pretrained:
        others["tuning=lora, which sends only adapters"] = replace(now, tuning="lora")
    for change, variant in others.items():
        limit = _prediction(prediction.shape, facts, variant, plan_of, length).stops_paying()
        if limit is None or limit > most:
            yield f"{change}: pays up to {MOST_NODES if limit is None else limit - 1} nodes"
