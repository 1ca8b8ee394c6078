"""How long each way takes, measured so that a figure that can't be true is noticed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from launcher.engine.findings import Part

MOST_S = 1.0
"""Seconds that timing one way may take after its first pass, where that is enough for two."""
REPEATS = 5
AGREE = 0.7
SLACK_S = 1e-3
"""Most calls of a way must take so much of what a second clock saw of them, but for the slack: a few may be interrupted."""
BEYOND_PEAK = 1.5
"""No pass is so many times as fast as its arithmetic at the rate of the best product of matrices."""


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes until the device is done."""
    wait(device)
    started = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - started


def median_seconds(action: Callable[[], object], device: torch.device) -> float:
    """Median seconds of REPEATS calls."""
    return statistics.median(seconds_of(action, device) for _ in range(REPEATS))


@dataclass
class Clocked:
    """The times of one way: what each call took, and what a second clock says of it."""

    seconds: list[float]
    elapsed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds of this process's threads, which other work on the machine doesn't lengthen."""

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def is_doubtful(self) -> bool:
        """Whether most calls took longer by the second clock."""
        pairs = zip(self.seconds, self.elapsed, strict=True)
        return statistics.median(told < AGREE * seen - SLACK_S for told, seen in pairs) > 0


def take_turns(ways: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, Clocked]:
    """Time several ways turn by turn, so that what else the machine does meets them all; the first call doesn't count."""
    found = {name: Clocked([]) for name in ways}
    for name, action in ways.items():
        action()
        found[name].seconds.append(seconds_of(action, device))
    first = max(clocked.median_s for clocked in found.values())
    repeats = max(2, min(REPEATS, int(MOST_S / max(first, 1e-9))))
    for clocked in found.values():
        clocked.seconds.clear()
    for _ in range(repeats):
        for name, action in ways.items():
            started, used = time.monotonic(), time.process_time()
            found[name].seconds.append(seconds_of(action, device))
            found[name].elapsed.append(time.monotonic() - started)
            found[name].cpu.append(time.process_time() - used)
    return found


def honesty(found: Mapping[str, Clocked], floor_s: float) -> Iterator[Part]:
    """Whether each way's times can be true: a second clock, and what the arithmetic takes at the device's best."""
    for name, clocked in found.items():
        text = f"{1e3 * clocked.median_s:.3g} ms"
        if clocked.is_doubtful:
            text = f"it says {text}, a second clock {1e3 * statistics.median(clocked.elapsed):.3g} ms"
            yield Part(f"time of {name}", "times", "wrong", text)
        elif min(clocked.seconds) * BEYOND_PEAK < floor_s:
            text = f"it says {1e3 * min(clocked.seconds):.3g} ms, its arithmetic alone takes {1e3 * floor_s:.3g} ms"
            yield Part(f"time of {name}", "times", "wrong", text)
        else:
            yield Part(f"time of {name}", "times", "right", text)
