"""How long nothing may happen before a training counts as hung: by what its steps and phases took before.

LAUNCHER_HANG_S is the shortest bound of a step in seconds, 60 where it is not set; `off` turns the detection off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from launcher.health.beats import Phase

VARIABLE = "LAUNCHER_HANG_S"
FLOOR_S = 60.0
TIMES = 5
"""A bound is so many times what was seen before."""
QUANTILE = 0.99
KNOWN = 10
"""Shortest bound of a phase that this run has been through before, in bounds of a step."""
UNKNOWN = 30
"""Bound of a phase that this run has never been through: it may download, compile or read a cold disk."""


def floor_s(word: str | None) -> float | None:
    """Shortest bound of a step by what the variable says, None for `off`. Raises ValueError."""
    if word is None or not word.strip():
        return FLOOR_S
    if word.strip().lower() in ("off", "0"):
        return None
    seconds = float(word)
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(word)
    return seconds


def bound_s(
    phase: Phase, floor: float, steps: Sequence[float], longest: Mapping[str, float], *, halted: bool = False
) -> float:
    """Longest that a rank in this phase may show no progress; one that is halted does nothing, whatever it was doing.

    `steps`: seconds of the newest steps; `longest`: the longest that each phase went without progress before.
    """
    if phase == "step" or halted:
        return max(floor, TIMES * _quantile(steps))
    seen = longest.get(phase)
    return UNKNOWN * floor if seen is None else max(KNOWN * floor, TIMES * seen)


def _quantile(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(QUANTILE * len(seconds)) - 1] if seconds else 0.0
