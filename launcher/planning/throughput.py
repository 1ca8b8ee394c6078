"""How fast a plan will be on any number of nodes, and what would make more nodes worth it. Pure, and an estimate.

The device's rate and the links are assumptions, named with the prediction; `benchmarks/scaling.py` fits them to a machine,
and result.json puts the measured step beside the predicted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import DEVICES, DeviceSpeed, Link, Prediction, Setup, Work, known_device
from launcher.recipe.fields import Record

CHARACTERS_PER_TOKEN = 4.3
"""Of English text in sub-word tokens."""
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
MOST_NODES = 1024
MORE_EXAMPLES = 4
"""How many times batch.global the advice looks at."""


class Throughput(Record):
    """Predicted speed; all None where the model's shape, the length of the texts or the device is not known."""

    step_s: float | None = None
    examples_per_s: float | None = None
    tokens_per_example: float | None = None
    """Guessed from the characters of the data."""
    device: str | None = None
    """What one rank is assumed to compute with."""
    by_nodes: tuple[tuple[int, float], ...] = ()
    """(nodes, examples a second) with the recipe's global batch."""
    stops_paying: int | None = None
    """Nodes at which each adds less than half of what the first gives; None up to 1,024."""
    advice: tuple[str, ...] = ()
    """What would make more nodes worth it."""


@dataclass(frozen=True)
class Facts:
    """What the prediction needs to know besides model and set-up."""

    examples: int
    """In a global batch."""
    micro_batch_size: int
    max_length: int
    mean_chars: float | None
    nodes: int
    gpus: int
    gpu_model: str | None
    cores: int
    """Cores of a rank on a CPU."""
    pretrained: bool = True
    """Whether adapters could take the place of full training: not on random weights."""


def predict(shape: ModelShape | None, setup: Setup, facts: Facts) -> Throughput:
    """The speed of a plan."""
    if shape is None or facts.mean_chars is None:
        return Throughput()
    name = "CPU" if setup.device == "cpu" else facts.gpu_model
    device = known_device(name) if name else None
    if name is None or device is None:
        return Throughput()
    length = min(facts.max_length, facts.mean_chars / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS)
    prediction = Prediction(
        shape=shape,
        setup=setup,
        work=_work(facts, facts.examples, length),
        device=DeviceSpeed.of(device, setup.precision, facts.cores if device is DEVICES["CPU"] else 1),
        link=LINKS[setup.device],
        gpus=facts.gpus,
        inside=INSIDE[setup.device],
        overlap=OVERLAP[setup.device],
    )
    step = prediction.step(facts.nodes)
    return Throughput(
        step_s=step.total_s,
        examples_per_s=step.examples_per_s,
        tokens_per_example=length,
        device=f"{facts.cores} CPU cores" if name == "CPU" else name,
        by_nodes=tuple((nodes, prediction.step(nodes).examples_per_s) for nodes in _node_counts(facts.nodes)),
        stops_paying=prediction.stops_paying(MOST_NODES),
        advice=tuple(_advice(prediction, facts, length)),
    )


def _work(facts: Facts, examples: int, length: float) -> Work:
    return Work(examples, round(examples * length), length, facts.micro_batch_size)


def _node_counts(nodes: int) -> list[int]:
    """Powers of two up to four times as many nodes as planned, at least to eight, and the planned number."""
    most = min(MOST_NODES, max(8, 4 * nodes))
    return sorted({nodes, *(2**power for power in range(int(math.log2(most)) + 1))})


def _advice(prediction: Prediction, facts: Facts, length: float) -> Iterator[str]:
    """Other recipes for which more nodes pay, each with the number of nodes up to which they do."""
    now = prediction.stops_paying(MOST_NODES)
    if now is None:
        return
    examples = MORE_EXAMPLES * facts.examples
    larger = replace(prediction, work=_work(facts, examples, length))
    others = {
        f"batch.global={examples}, more tokens a rank, accumulated where memory is short": larger,
    }
    if prediction.setup.tuning == "full" and facts.pretrained:
        others["tuning=lora, which sends adapters alone"] = replace(
            prediction, setup=replace(prediction.setup, tuning="lora")
        )
    for change, other in others.items():
        limit = other.stops_paying(MOST_NODES)
        if limit is None or limit > now:
            yield f"{change}: pays {f'below {limit}' if limit else f'up to {MOST_NODES}'} nodes"
