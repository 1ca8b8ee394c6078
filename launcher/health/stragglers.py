"""Which rank is slower than the others, by what each spends on its own work in a step: waiting for others left out."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.health.beats import SHARES, TIMED, Part
from launcher.runs.events import CORES, SLOW

STRETCH = 10
"""Steps that are looked at together; a pause in one of them is forgiven."""
STRETCHES = 5
"""So many in a row make somebody slow: 50 steps."""
NO_LONGER = 1.2
"""Below it the rank that was called slow is so no longer."""


@dataclass(frozen=True)
class StepTimes:
    """Medians over the newest stretches, of the mean of each without its longest step."""

    seconds: Mapping[Part, tuple[float, ...]]
    """Of each part by rank."""
    slowest: int
    """The rank that needs the most time for its own work."""
    ratio: float
    """That time over the median of the others'."""
    own_ratio: float
    """The same without what it waits longer for cores than the others."""
    part: str
    """Where it loses the most: a part of a step, or CORES; it goes from one to the other once STRETCHES in a row agree."""


@dataclass(frozen=True)
class _Stretch:
    own: tuple[float, ...]
    """Seconds of a rank's own work in a step, by rank."""
    parts: tuple[tuple[float, ...], ...]
    """Seconds of each part, in the order of TIMED, by rank."""
    waits: tuple[float, ...]
    """Seconds of its own work in a step that a rank waits for cores, by rank."""

    def keeps_waiting(self, rank: int) -> bool:
        """Whether the rank loses most of its time by waiting for cores."""
        return 2 * self.waits_longer(rank) > self.own[rank] - _others(self.own, rank)

    def waits_longer(self, rank: int) -> float:
        """Seconds more than the others that it waits for cores."""
        return max(0.0, self.waits[rank] - _others(self.waits, rank))


class Stragglers:
    """Step times of all ranks over the newest steps."""

    def __init__(self, own: Sequence[Part]) -> None:
        """`own`: the parts of a step in which a rank waits for nobody."""
        self._own = tuple(TIMED.index(part) for part in own)
        self._steps: list[Sequence[float]] = []
        self._stretches: deque[_Stretch] = deque(maxlen=STRETCHES)
        self.times: StepTimes | None = None
        """As of the last look; None until enough steps were taken."""
        self.slow: int | None = None
        """The rank that is slow now."""

    def add(self, shares: Sequence[float]) -> bool:
        """Note a step: SHARES figures of the first rank, then of the next. Whether the ranks were looked at."""
        if len(shares) < 2 * SHARES:
            return False
        self._steps.append(shares)
        if len(self._steps) < STRETCH:
            return False
        self._stretches.append(self._stretch())
        self._steps.clear()
        if len(self._stretches) < STRETCHES:
            return False
        self.times = self._look()
        self.slow = self._slow(self.times)
        return True

    @property
    def cause(self) -> tuple[int, bool] | None:
        """The rank that is slow now, and whether that is for want of cores."""
        if self.times is None or self.slow is None:
            return None
        return self.slow, self.times.part == CORES

    def _stretch(self) -> _Stretch:
        usual = [_usual(column) for column in zip(*self._steps, strict=True)]
        starts = range(0, len(usual), SHARES)
        own = tuple(
            _usual([sum(step[at + part] for part in self._own) for step in self._steps]) for at in starts
        )
        parts = tuple(tuple(usual[part::SHARES]) for part in range(len(TIMED)))
        waits = tuple(
            seconds * share for seconds, share in zip(own, usual[SHARES - 1 :: SHARES], strict=True)
        )
        return _Stretch(own, parts, waits)

    def _look(self) -> StepTimes:
        usual = self._medians()
        own, parts = usual.own, usual.parts
        slowest = max(range(len(own)), key=own.__getitem__)
        worst = max(self._own, key=lambda part: parts[part][slowest] - _others(parts[part], slowest))
        without_waits = own[slowest] - usual.waits_longer(slowest)
        return StepTimes(
            seconds=dict(zip(TIMED, parts, strict=True)),
            slowest=slowest,
            ratio=_ratio(own, slowest),
            own_ratio=max(1.0, _ratio(own, slowest, without_waits)),
            part=CORES if self._keeps_waiting(usual, slowest) else TIMED[worst],
        )

    def _medians(self) -> _Stretch:
        """Over the newest stretches."""
        parts = (_over([stretch.parts[part] for stretch in self._stretches]) for part in range(len(TIMED)))
        return _Stretch(
            own=_over([stretch.own for stretch in self._stretches]),
            parts=tuple(parts),
            waits=_over([stretch.waits for stretch in self._stretches]),
        )

    def _keeps_waiting(self, usual: _Stretch, rank: int) -> bool:
        """Whether waits for cores make a rank slow; of one that was called slow, as before unless all stretches disagree."""
        found = {stretch.keeps_waiting(rank) for stretch in self._stretches}
        if len(found) == 1:
            return found.pop()
        if self.times is None or rank != self.slow:
            return usual.keeps_waiting(rank)
        return self.times.part == CORES

    def _slow(self, times: StepTimes) -> int | None:
        """The slowest rank, where it was so in every stretch, or has not caught up yet."""
        slowest = times.slowest
        if slowest == self.slow:
            return slowest if times.ratio >= NO_LONGER else None
        always = all(_ratio(stretch.own, slowest) >= SLOW for stretch in self._stretches)
        return slowest if always else None


def _usual(seconds: Sequence[float]) -> float:
    """The mean of a stretch without its longest step: many short pauses count, one long one doesn't."""
    return (sum(seconds) - max(seconds)) / (len(seconds) - 1)


def _over(stretches: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Medians by rank."""
    return tuple(sorted(values)[len(values) // 2] for values in zip(*stretches, strict=True))


def _ratio(own: Sequence[float], rank: int, seconds: float | None = None) -> float:
    """A rank's seconds, or those given, over the median of the others'."""
    usual = _others(own, rank)
    return (own[rank] if seconds is None else seconds) / usual if usual else 1.0


def _others(values: Sequence[float], rank: int) -> float:
    """Median over the other ranks."""
    return statistics.median(value for other, value in enumerate(values) if other != rank)
