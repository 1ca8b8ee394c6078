"""Whether a training makes no progress, since when, and which rank is behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.health.beats import PARTS, PHASES, Part, Phase
from launcher.health.hang_timeouts import FLOOR_S
from launcher.health.processes import HALTED
from launcher.health.records import NodeHealth, RankHealth, read_nodes
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Hang

STALE_S = 15.0
"""A node whose file is so much older than the newest doesn't write any more."""
SHOWN_FROM = 1 / 3
"""Share of its bound after which a stall is worth telling, after a minute in any case."""
DOING: Mapping[Phase | Part, str] = {
    "starting": "is starting",
    "loading": "is loading data",
    "tokenising": "is tokenising",
    "building": "is building the model",
    "compiling": "is compiling",
    "evaluation": "is evaluating",
    "save": "is saving",
    "export": "is writing the end of the run",
    "ended": "has ended",
    "": "is between two steps, where metrics are written",
    "data": "is reading the next batch",
    "forward": "is in forward",
    "backward": "is in backward",
    "gradients": "waits for the gradients of others",
    "optimizer": "is in the optimizer",
    "results": "waits for the results of the step",
    "others": "waits for other ranks",
}


@dataclass(frozen=True)
class RankSeen:
    """Where a rank stands, seen from anywhere."""

    rank: int
    host: str
    health: RankHealth
    is_stale: bool = False
    """Its node tells nothing any more."""

    @property
    def is_gone(self) -> bool:
        """Whether its process has died before its end."""
        return self.health.state is None

    @property
    def is_halted(self) -> bool:
        return self.health.state in HALTED

    @property
    def doing(self) -> str:
        """In words: `is in backward`."""
        if self.is_gone:
            return "is gone"
        health = self.health
        in_step = health.phase in ("step", "first step")
        text = DOING[health.part if in_step or health.part else health.phase]
        text += " of its first steps" if health.phase == "first step" and health.part else ""
        if self.is_halted:
            return f"{text}, halted by a signal"
        return f"{text}, and its node tells nothing any more" if self.is_stale else text

    def order(self) -> tuple[int, ...]:
        """The smaller, the further behind."""
        health = self.health
        where = (health.step, PHASES.index(health.phase), PARTS.index(health.part))
        return (not self.is_gone, not self.is_halted, *where, not self.is_stale)


@dataclass(frozen=True)
class Stall:
    """A training in which nothing has happened for a while."""

    silent_s: float
    bound_s: float | None
    """After how long it is ended; None where nobody does."""
    behind: RankSeen | None
    """The rank that the others wait for; None where all stand at the same place."""
    sentence: str
    places: tuple[RankSeen, ...]
    """Of the ranks that have not ended."""

    @property
    def is_hang(self) -> bool:
        return self.bound_s is not None and self.silent_s > self.bound_s

    def hang(self, at: float) -> Hang:
        """As a record, at this moment in Unix seconds."""
        silent_s, behind = round(self.silent_s, 1), self.behind
        if behind is None:
            return Hang(self.sentence, silent_s, at, bound_s=self.bound_s)
        step = behind.health.step
        return Hang(self.sentence, silent_s, at, behind.rank, behind.host, step, self.bound_s)

    @property
    def is_worth_telling(self) -> bool:
        return self.silent_s > min(SHOWN_FROM * (self.bound_s or FLOOR_S), FLOOR_S)


def stall_of(places: Sequence[RankSeen]) -> Stall | None:
    """How long no rank has made progress, and who is behind; None where all have ended."""
    going = [place for place in places if place.health.phase != "ended"]
    if not going:
        return None
    silent_s = min(place.health.silent_s for place in going)
    first, *rest = sorted(going, key=RankSeen.order)
    behind = None if rest and rest[0].order() == first.order() else first
    return Stall(silent_s, _bound_s(going), behind, _sentence(silent_s, going, first, behind), tuple(going))


def _bound_s(going: Sequence[RankSeen]) -> float | None:
    """The longest that a rank may take, of those that are halted where there are such: all others wait for them.

    That of one whose node tells nothing is of a phase it may have left long ago.
    """
    telling = [place for place in going if not place.is_stale] or going
    bounds = [place.health.bound_s for place in telling if place.is_halted]
    bounds = bounds or [place.health.bound_s for place in telling]
    known = [bound for bound in bounds if bound is not None]
    return max(known) if len(known) == len(bounds) else None


def _sentence(silent_s: float, going: Sequence[RankSeen], first: RankSeen, behind: RankSeen | None) -> str:
    in_steps = all(place.health.phase in ("step", "first step") for place in going)
    what = "no step" if in_steps else "no progress"
    if behind is not None:
        return f"{what} for {silent_s:.0f} s: {named(behind)} {behind.doing}"
    together = [place.rank for place in going if place.order() == first.order()]
    whole = "every rank" if len(together) == len(going) else f"each of ranks {_listed(together)}"
    return f"{what} for {silent_s:.0f} s: {whole} {first.doing}"


def named(place: RankSeen) -> str:
    """For a reader: `rank 1 on node3`."""
    return f"rank {place.rank} on {place.host}"


def seen_from_outside(attempt: AttemptDir) -> Hang | None:
    """What makes no progress in an attempt that runs, by what its nodes wrote last; None where nothing is worth telling.

    Of one that is being ended what its nodes said when they began to.
    """
    if (ending := attempt.read_hang()) is not None:
        return ending
    here = socket.gethostname()
    nodes = [_by_our_clock(node) if node.host == here else node for node in read_nodes(attempt)]
    ours = time.time() if any(node.host == here for node in nodes) else 0.0
    stall = stall_of(places_of(nodes, ours))
    if stall is None or not stall.is_worth_telling:
        return None
    return stall.hang(max(ours, *(node.at for node in nodes)))


def _by_our_clock(node: NodeHealth) -> NodeHealth:
    """What this machine wrote, with the time by its clock as it is now: that may have been set since."""
    age_s = -1.0 if node.up_s is None else time.monotonic() - node.up_s
    return replace(node, at=time.time() - age_s) if age_s >= 0 else node


def places_of(nodes: Iterable[NodeHealth], now: float = 0.0) -> list[RankSeen]:
    """The ranks of all nodes, by what these wrote last.

    `now`: Unix seconds by the clock of one of the nodes, where that is known. Clocks of nodes may differ by some seconds; a
    node is stale only where it is older than that.
    """
    known = list(nodes)
    newest = max([now, *(node.at for node in known)])
    return [
        RankSeen(rank.rank, node.host, _aged(rank, newest - node.at), newest - node.at > STALE_S)
        for node in known
        for rank in node.ranks
    ]


def _aged(rank: RankHealth, seconds: float) -> RankHealth:
    """A rank that nobody has looked at for a while."""
    if seconds <= STALE_S:
        return rank
    return RankHealth(
        rank.rank, rank.phase, rank.part, rank.step, rank.silent_s + seconds, rank.bound_s, rank.state
    )


def _listed(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return f"{shown} and {len(ranks) - 8} more" if len(ranks) > 8 else shown
