"""The watcher of a node: a small process beside its ranks that tells where they stand and ends an attempt that hangs.

    python -m launcher.node watch RUN_DIR ATTEMPT NODE LOCAL_WORLD_SIZE WORLD_SIZE STARTER

The node's first rank starts it. It is no thread of a rank, since all of that may be halted or stuck; and it lives as long as
a rank or torchrun does. It counts seconds by its own clock, so no other clock's jump, and no pause of its own, is a hang. That of
the first node keeps the time, too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterator

from launcher import host_memory
from launcher.health import hang_timeouts, records
from launcher.health.beats import Beat, BeatsOf
from launcher.health.processes import HALTED, Process
from launcher.health.records import NodeHealth, RankHealth
from launcher.health.stacks import write_stacks
from launcher.health.stalls import RankSeen, Stall, places_of, stall_of
from launcher.health.time_limit import TimeKeeper
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Gone, Member
from launcher.runs.directory import RunDir
from launcher.runs.events import append_notice
from launcher.runs.files import say

POLL_S = 1.0
WRITE_S = 2.0
"""How old a node's file may be while its ranks make progress."""
KILLS_FROM = 5
"""Looks over which a process that the kernel has killed may give back its memory, before it is gone."""
AGENT_S = 10.0
"""Longest that torchrun may take to see that its ranks were killed."""


class Watched:
    """A rank of this node."""

    def __init__(self, member: Member) -> None:
        """Raises OSError or ValueError where its beats can't be read."""
        self.rank, self._node = member.rank, member.node
        self.process = Process(member.pid, member.started)
        self.agent = None if member.agent is None else Process(member.agent, member.agent_started or 0)
        self._beats = BeatsOf(member.pid, member.descriptor)
        self._last: Beat | None = None
        self._silent_s = 0.0
        self._held: int | None = None
        self._kills: deque[int | None] = deque(maxlen=KILLS_FROM)

    def gone(self, allowed: int | None, kills: int | None) -> Gone | None:
        """Whether its process has died before its end, with how much memory; None where it lives, or has ended.

        `kills` are those for want of memory that the kernel counts now.
        """
        if self.process.state() is not None:
            self._kills.append(kills)
            self._held = host_memory.held(self.process.pid) or self._held
            return None
        phase = self._beats.beat().phase
        before = self._kills[0] if self._kills else kills
        for_memory = None if before is None or kills is None else kills > before
        return (
            None if phase == "ended" else Gone(self.rank, self._node, phase, self._held, allowed, for_memory)
        )

    def look(self, passed_s: float, floor: float | None, longest: dict[str, float]) -> RankHealth:
        """Where it stands, so many seconds after the last look."""
        beat = self._beats.beat()
        if self._last is not None and beat.beats != self._last.beats:
            phase = self._last.phase
            longest[phase] = max(longest.get(phase, 0.0), round(self._silent_s, 3))
            self._silent_s = 0.0
        elif self._last is not None:
            self._silent_s += passed_s
        self._last = beat
        steps = self._beats.step_seconds()
        state = self.process.state()
        bound = None
        if floor is not None:
            bound = hang_timeouts.bound_s(beat.phase, floor, steps, longest, halted=state in HALTED)
        return RankHealth(
            self.rank,
            beat.phase,
            beat.part,
            beat.step,
            round(self._silent_s, 1),
            None if bound is None else round(bound, 1),
            state,
        )


class Watcher:
    """Looks at the ranks of a node once a second."""

    def __init__(
        self,
        run: RunDir,
        attempt: AttemptDir,
        node: int,
        sizes: tuple[int, int],
        starter: Process | None,
        floor: float | None,
        keeper: TimeKeeper | None = None,
    ) -> None:
        self._run = run
        self._attempt = attempt
        self._node = node
        self._local_size, self._world_size = sizes
        self._floor = floor
        self._keeper = keeper
        self._starter = starter
        self._host = _host(attempt, node)
        self._ranks: dict[int, Watched] = {}
        self._longest = _longest_before(run, attempt, node)
        self._looked_at = self._began_at = time.monotonic()
        self._written_at = -WRITE_S
        self._agents_silent_s = 0.0
        self._allowed = host_memory.allowed()
        self._has_gone = False

    def watch(self) -> None:
        """Until the ranks of this node and their torchrun are gone."""
        self._find_ranks()
        while self._anybody_lives():
            passed_s = self._passed()
            self._find_ranks()
            self._note_gone()
            health = self._look(passed_s)
            stall = stall_of(self._places(health))
            self._write(health, is_silent=stall is not None and stall.silent_s > WRITE_S)
            if stall is not None and (
                stall.is_hang or (stall.is_worth_telling and self._attempt.hang.exists())
            ):
                self._end(stall)
                return
            self._end_halted_agents(passed_s)
            if self._keeper is not None:
                self._keeper.look()
            self._wait()
        self._note_gone()

    def _note_gone(self) -> None:
        """Record the first rank that dies; of several within a second, the one with the most memory."""
        if self._has_gone:
            return
        kills = host_memory.kills()
        looked = [watched.gone(self._allowed, kills) for watched in self._ranks.values()]
        if found := [gone for gone in looked if gone is not None]:
            self._has_gone = True
            with contextlib.suppress(OSError):
                self._attempt.write_gone(max(found, key=lambda gone: gone.held or 0))

    def _passed(self) -> float:
        """Seconds since the last look; those in which this process itself was halted don't count."""
        now = time.monotonic()
        passed_s, self._looked_at = now - self._looked_at, now
        return min(passed_s, 2 * POLL_S)

    def _find_ranks(self) -> None:
        if len(self._ranks) == self._local_size:
            return
        for member in self._attempt.members():
            if member.node == self._node and member.rank not in self._ranks:
                with contextlib.suppress(OSError, ValueError):
                    self._ranks[member.rank] = Watched(member)

    def _look(self, passed_s: float) -> NodeHealth:
        found = [watched.look(passed_s, self._floor, self._longest) for watched in self._ranks.values()]
        at, up_s = round(time.time(), 3), round(time.monotonic(), 3)
        return NodeHealth(self._node, self._host, at, tuple(found), dict(self._longest), up_s)

    def _places(self, here: NodeHealth) -> list[RankSeen]:
        """Where all ranks of the run stand. Other nodes are asked only once nothing happens here."""
        places = places_of([here])
        own = stall_of(places)
        if own is not None and not own.is_worth_telling:
            return places
        if not self._ranks:
            return []
        others = [node for node in records.read_nodes(self._attempt) if node.node != self._node]
        places = places_of([here, *others])
        return [*places, *self._unseen({place.rank for place in places})]

    def _unseen(self, seen: set[int]) -> Iterator[RankSeen]:
        """Ranks that have not started, and those whose beats nobody can read: what these do, nobody can judge."""
        silent_s = time.monotonic() - self._began_at
        started = {member.rank for member in self._attempt.members()}
        floor = self._floor
        for rank in set(range(self._world_size)) - seen:
            judged = floor is not None and rank not in started
            bound = hang_timeouts.bound_s("starting", floor, (), self._longest) if judged and floor else None
            health = RankHealth(rank, "starting", "", 0, silent_s, bound, "S")
            yield RankSeen(rank, "a node not heard of", health, is_stale=not judged)

    def _write(self, health: NodeHealth, *, is_silent: bool) -> None:
        if is_silent or time.monotonic() - self._written_at >= WRITE_S:
            self._written_at = time.monotonic()
            with contextlib.suppress(OSError):
                records.write_node(self._attempt, health)

    def _end(self, stall: Stall) -> None:
        """Say what hangs, write down what everybody is doing, and kill the ranks of this node."""
        if not any(place.is_gone for place in stall.places):
            self._record(stall)
        else:  # that one is the cause, and recorded as such by whoever saw it die
            say(f"{stall.sentence}: the others are killed")
        living = [(watched.process, self._run.rank_log(watched.rank)) for watched in self._ranks.values()]
        write_stacks(living, f"{stall.sentence}. What this rank is doing:")
        for process, _ in living:
            process.send(signal.SIGKILL)
        self._end_agents()

    def _record(self, stall: Stall) -> None:
        with contextlib.suppress(OSError):
            self._attempt.write_hang(stall.hang(round(time.time(), 3)))
            self._tell(stall.sentence)

    def _tell(self, sentence: str) -> None:
        """For the job's log, and for whoever follows the run."""
        text = f"{sentence}: the attempt is ended"
        say(text)
        append_notice(self._run.events, self._attempt.number, text)

    def _agents(self) -> set[Process]:
        return {watched.agent for watched in self._ranks.values() if watched.agent is not None}

    def _end_agents(self) -> None:
        """Kill a torchrun that doesn't see the end of its ranks: it may be halted like one of them."""
        deadline = time.monotonic() + AGENT_S
        while any(agent.state() not in (None, *HALTED) for agent in self._agents()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for agent in self._agents():
            agent.send(signal.SIGKILL)

    def _end_halted_agents(self, passed_s: float) -> None:
        """Kill a torchrun that is halted and would keep an attempt open whose ranks have all ended."""
        over = self._ranks and all(watched.process.state() is None for watched in self._ranks.values())
        halted = [agent for agent in self._agents() if agent.state() in HALTED]
        self._agents_silent_s = self._agents_silent_s + passed_s if over and halted else 0.0
        if self._floor is not None and self._agents_silent_s > self._floor:
            say(f"torchrun on {self._host} was halted by a signal and has no ranks any more: killed")
            for agent in halted:
                agent.send(signal.SIGKILL)

    def _processes(self) -> Iterator[Process]:
        if self._starter is not None:
            yield self._starter
        yield from (watched.process for watched in self._ranks.values())
        yield from self._agents()

    def _anybody_lives(self) -> bool:
        return any(process.state() is not None for process in self._processes())

    def _wait(self) -> None:
        """For a second, or until one of those that live dies."""
        descriptors: list[int] = []
        for process in self._processes():
            with contextlib.suppress(OSError):
                if process.state() is not None:
                    descriptors.append(os.pidfd_open(process.pid))
        select.select(descriptors, [], [], POLL_S)
        for descriptor in descriptors:
            os.close(descriptor)


def _host(attempt: AttemptDir, node: int) -> str:
    hosts = attempt.read().hosts
    return hosts[node] if node < len(hosts) else f"node {node}"


def _longest_before(run: RunDir, attempt: AttemptDir, node: int) -> dict[str, float]:
    """The longest that each phase went without progress on this node in the attempts before."""
    longest: dict[str, float] = {}
    for number in run.attempt_numbers():
        if number < attempt.number:
            for health in records.read_nodes(run.attempt(number)):
                if health.node == node:
                    for phase, seconds in health.longest.items():
                        longest[phase] = max(longest.get(phase, 0.0), seconds)
    return longest


def watch(
    run: RunDir,
    attempt: AttemptDir,
    node: int,
    sizes: tuple[int, int],
    starter: int,
    keeper: TimeKeeper | None,
) -> None:
    """Watch the ranks of a node, of which there are so many here and in all, until they are gone.

    `starter` is the process of the rank that started this one. It may have ended meanwhile; whoever is the parent then, such
    as process 1, is not waited for.
    """
    for wish in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(wish, signal.SIG_IGN)  # its ranks save now, and it goes with them
    word = os.environ.get(hang_timeouts.VARIABLE)
    try:
        floor = hang_timeouts.floor_s(word)
    except ValueError:
        floor = hang_timeouts.FLOOR_S
        say(f"{hang_timeouts.VARIABLE}={word!r} is neither seconds nor `off`: {floor:.0f} is taken")
    parent = Process.of(starter) if os.getppid() == starter else None
    Watcher(run, attempt, node, sizes, parent, floor, keeper).watch()
