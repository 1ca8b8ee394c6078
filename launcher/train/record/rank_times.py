"""What the ranks spend their steps on, side by side, and which of them is slow: told by rank 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from launcher.health.beats import Part
from launcher.health.stragglers import STRETCH, STRETCHES, Stragglers
from launcher.planning.plan import Plan
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.events import StepTimes
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks


class RankTimes:
    """Takes what `Heartbeat.shares` gave of every step, summed over ranks."""

    def __init__(self, attempt: AttemptDir, plan: Plan, ranks: Ranks, events: Events) -> None:
        self._events = events
        self._tells = ranks.is_main and ranks.world_size > 1
        self._attempt = attempt
        self._stragglers = Stragglers(own_parts(plan.strategy))

    def note(self, step: int, shares: Sequence[float]) -> None:
        """Look at a step; every some steps, tell."""
        before = self._stragglers.cause
        if not self._tells or not self._stragglers.add(shares):
            return
        times, slow = self._stragglers.times, self._stragglers.slow
        assert times is not None
        told = StepTimes(step=step, seconds={str(part): values for part, values in times.seconds.items()})
        if slow is not None:
            told = replace(
                told,
                slow=slow,
                host=self._attempt.hosts_of_ranks().get(slow),
                ratio=times.ratio,
                part=times.part,
            )
        self._events.emit("step_times", **told.told())
        if told.sentence is not None and self._stragglers.cause != before:
            self._events.notice(f"{told.sentence}, over {STRETCH * STRETCHES} steps", "warning")

    def slowest(self) -> dict[str, float]:
        """For the step's line of metrics: the slowest rank, and its time over the others' without waits for cores."""
        times = self._stragglers.times
        if times is None:
            return {}
        return {"perf/slowest_rank": times.slowest, "perf/slowest_ratio": times.own_ratio}


def own_parts(strategy: str) -> Sequence[Part]:
    """The parts of a step in which a rank waits for nobody.

    ZeRO waits for other ranks within its backward pass and its optimizer, and no clock outside of it can tell.
    """
    return ("data", "forward", "backward", "optimizer") if strategy == "plain" else ("data", "forward")
