"""What a probe of the engine has found, and the way that a training took because of it: records, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from launcher.runs.records import Extensible

Layout = Literal["packed", "padded"]
"""Whether examples are laid end to end or padded to the longest of their micro-batch."""
Kernels = Literal["none", "graph", "inductor"]
"""How the operations of a step reach the device; the values of a plan's `compile`."""
Changed = Literal["graph", "inductor"]
"""Kernels that are not the ordinary ones."""
Dropout = Literal["cheap", "stock"]
"""Whether a CPU draws its masks four at a time, or as PyTorch does."""
Of = Literal["packed", "padded", "graph", "inductor", "dropout", "times"]
"""What is wrong where a part is: a layout, kernels, the cheap masks, or the figures themselves."""


@dataclass(frozen=True)
class Part:
    """One thing that was tried."""

    name: str
    of: Of
    state: Literal["right", "wrong", "not tried"]
    text: str
    """What was seen, with its figure."""


@dataclass(frozen=True)
class Timing:
    """How long one way takes for the micro-batches that were tried."""

    layout: Layout
    kernels: Kernels
    pass_s: float
    """Seconds of forward and backward over the examples tried."""
    start_s: float = 0.0
    """Seconds that it costs once, before the first such pass."""


@dataclass(frozen=True)
class Finding(Extensible):
    """One probe, of one kind of model on one kind of device."""

    key: Mapping[str, str]
    """What it holds for: device, versions, family and sizes."""
    parts: tuple[Part, ...]
    timings: tuple[Timing, ...]
    took_s: float
    """What the probe cost."""
    at: float
    """Unix seconds."""

    def wrong(self, *of: Of) -> Iterator[Part]:
        """The parts of these that are wrong; all that are where nothing is named."""
        return (part for part in self.parts if part.state == "wrong" and (not of or part.of in of))

    def timing(self, layout: Layout, kernels: Kernels) -> Timing | None:
        """The time of one way, None where it wasn't tried."""
        return next((t for t in self.timings if (t.layout, t.kernels) == (layout, kernels)), None)


@dataclass(frozen=True)
class Taken(Extensible):
    """attempts/N/engine.json: the way that an attempt computes, so that the next one computes the same."""

    layout: Layout
    kernels: Kernels
    dropout: Dropout
    why: str
    """One line for the reader."""
    device: str
    """Model of the device that this was decided for."""
    is_fallback: bool = False
    """Whether something is wrong with the way that was planned."""


def digest(key: Mapping[str, str]) -> str:
    """A short name for a key: 16 hexadecimal digits."""
    text = json.dumps(dict(sorted(key.items())), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
