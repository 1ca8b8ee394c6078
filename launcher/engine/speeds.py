"""How fast devices were seen to be: points from runs that have ended, rates from probes; both in the user's cache.

A point is a whole step of one kind of training. Rates hold for any training in a number format on so many ranks of a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.engine.cache import keep, read_all
from launcher.engine.findings import digest
from launcher.runs.records import Extensible, tree_of

MOST_POINTS = 12
"""Newest points of a kind that are kept."""


@dataclass(frozen=True)
class Point:
    """A median step of a run."""

    flops: float
    """Floating-point operations of one rank in the step."""
    seconds: float


@dataclass(frozen=True)
class Steps(Extensible):
    """Steps seen of one kind of training: device, model, set-up, ranks."""

    kind: Mapping[str, str]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Rates(Extensible):
    """What a probe has measured of a device; seconds and bytes are those of one of the ranks that worked side by side."""

    device: str
    precision: str
    ranks: int
    """Ranks of a node that worked side by side."""
    hidden: int
    """Width of the model that was tried: narrower ones reach less."""
    flops_per_s: float
    layer_launch_s: float
    """Seconds of a layer in a pass that don't shrink with its work."""
    bytes_per_s: float
    latency_s: float | None = None
    """Of a sum over the ranks of a node; None where there was one rank."""
    link_bytes_per_s: float | None = None


@dataclass(frozen=True)
class Known:
    """All that the cache holds."""

    steps: tuple[Steps, ...] = ()
    rates: tuple[Rates, ...] = ()

    def points(self, kind: Mapping[str, str]) -> tuple[Point, ...]:
        """Steps of this very kind."""
        return next((each.points for each in self.steps if dict(each.kind) == dict(kind)), ())

    def rates_of(self, device: str, precision: str, ranks: int, hidden: int) -> Rates | None:
        """Rates on this device, of the model that is nearest in width; None where none is within a factor of two."""
        same = (device, precision, ranks)
        found = [r for r in self.rates if (r.device, r.precision, r.ranks) == same and hidden > 0]
        near = [r for r in found if 0.5 <= r.hidden / hidden <= 2.0]
        return min(near, key=lambda r: abs(r.hidden - hidden), default=None)


NOTHING = Known()


def read_known() -> Known:
    """What the cache holds; what is damaged is left out."""
    steps, rates = read_all("steps-*.json", Steps), read_all("rates-*.json", Rates)
    return Known(tuple(filter(_is_sound, steps)), tuple(rate for rate in rates if rate.flops_per_s > 0))


def _is_sound(steps: Steps) -> bool:
    return all(point.flops > 0 and point.seconds > 0 for point in steps.points)


def keep_point(kind: Mapping[str, str], point: Point) -> bool:
    """Add a run's steps to what is known of its kind; False where that can't be kept."""
    points = (*read_known().points(kind), point)[-MOST_POINTS:]
    return keep(f"steps-{digest(kind)}.json", tree_of(Steps(dict(kind), points)))


def keep_rates(rates: Rates) -> bool:
    """Keep what a probe has measured; False where that can't be done."""
    key = {name: str(getattr(rates, name)) for name in ("device", "precision", "ranks", "hidden")}
    return keep(f"rates-{digest(key)}.json", tree_of(rates))
