"""This rank's signs of life, and what its steps spend their time on: marks that cost less than a microsecond each.

The watcher of the node reads where the rank stands (`launcher.health`). The seconds of each part of a step travel with the
sums that the ranks exchange at the end of a step anyway, so nothing waits for them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from launcher.health.beats import PARTS, PHASES, SHARES, TIMED, Beats, Phase
from launcher.health.processes import Process
from launcher.health.records import write_member
from launcher.health.stacks import SIGNAL
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Member
from launcher.runs.directory import RunDir
from launcher.train.process.core_waits import CoreWaits

FIRST_STEPS = 2
"""Steps that may compile and warm up."""
FIRST_COMPILED_STEPS = 20
"""So many where torch.compile compiles for each new shape."""
PHASE_OF: Mapping[str, Phase] = {
    "starting": "starting",
    "loading data": "loading",
    "tokenising": "tokenising",
    "building model": "building",
    "pruning": "building",
    "compiling": "compiling",
    "evaluating": "evaluation",
    "ending": "export",
}
"""What the phases that a run tells of are to the watchers."""
_DATA, _FORWARD, _BACKWARD, _GRADIENTS, _OPTIMIZER, _RESULTS, _OTHERS = range(1, len(PARTS))


class Heartbeat:
    """Where this rank stands; its methods are called by the thread that trains, between things that may hang."""

    def __init__(self, beats: Beats | None = None) -> None:
        self._beats = beats or Beats.private()
        self._first_steps = FIRST_STEPS
        self._count = self._step = self._phase = self._part = self._steps = 0
        self._seconds = [0.0] * len(PARTS)
        self._waits = CoreWaits()
        self._since = self._step_began = time.perf_counter()

    def phase(self, name: str) -> None:
        """Something of this name begins or goes on; see PHASE_OF."""
        known = PHASE_OF.get(name)
        if known is not None:
            self._enter(known)

    def compiles_in_steps(self) -> None:
        """Steps may take longer until every shape was seen."""
        self._first_steps = FIRST_COMPILED_STEPS

    def save(self) -> None:
        """A checkpoint is being staged."""
        self._enter("save")

    def ended(self) -> None:
        """This rank has nothing more to do."""
        self._enter("ended")

    def waits(self, phase: str) -> None:
        """Another rank does what belongs to this phase, and this one needs it."""
        self._enter(PHASE_OF[phase])
        self._part = _OTHERS
        self._mark()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """All ranks must come here before this one goes on. Within a step that is told by its parts."""
        if self._part:
            yield
            return
        self._part = _OTHERS
        self._mark()
        yield
        self._part = 0
        self._mark()

    def begin_step(self, step: int) -> None:
        """So many steps are done, and one more begins with fetching its data."""
        self._step = step
        self._phase = _STEP if self._steps >= self._first_steps else _FIRST_STEP
        self._seconds = [0.0] * len(PARTS)
        self._part = _DATA
        self._since = self._step_began = time.perf_counter()
        self._mark()

    def data(self) -> None:
        """The next micro-batch is fetched."""
        self._go_on(_DATA)

    def forward(self) -> None:
        self._go_on(_FORWARD)

    def backward(self) -> None:
        self._go_on(_BACKWARD)

    def gradients(self) -> None:
        """Gradients of other ranks are waited for."""
        self._go_on(_GRADIENTS)

    def optimizer(self) -> None:
        self._go_on(_OPTIMIZER)

    def results(self) -> None:
        """Losses of other ranks are waited for; the work of the step is done."""
        self._go_on(_RESULTS)

    def end_step(self) -> None:
        """The step is over, as far as this process is concerned."""
        self._steps += 1
        self._step += 1
        self._part = 0
        self._mark()
        if self._steps > 1:
            self._beats.add_step(time.perf_counter() - self._step_began)

    def shares(self, rank: int, world_size: int) -> list[float]:
        """Figures of this step so far (see SHARES), at this rank's place among zeros: what a sum over ranks collects."""
        if world_size == 1:
            return []
        row = [0.0] * (world_size * SHARES)
        row[rank * SHARES : (rank + 1) * SHARES] = [*self._seconds[1 : len(TIMED) + 1], self._waits.share()]
        return row

    def _go_on(self, part: int) -> None:
        now = time.perf_counter()
        self._seconds[self._part] += now - self._since
        self._since = now
        self._part = part
        self._mark()

    def _enter(self, phase: Phase) -> None:
        self._phase, self._part = PHASES.index(phase), 0
        self._mark()

    def _mark(self) -> None:
        self._count += 1
        self._beats.write(self._count, self._step, self._phase, self._part)


_STEP, _FIRST_STEP = PHASES.index("step"), PHASES.index("first step")


def start_watcher(run: RunDir, attempt: AttemptDir) -> None:
    """Have the ranks of this node watched; the first of them calls this, before its output goes elsewhere."""
    sizes = [os.environ.get(name, "1") for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE")]
    arguments = [str(run.path), str(attempt.number), _node(), *sizes, str(os.getpid())]
    with contextlib.suppress(OSError):
        _kept.append(
            subprocess.Popen(
                [sys.executable, "-m", "launcher.node", "watch", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # torchrun signals the group of a rank
            )
        )


def show_signs_of_life(attempt: AttemptDir) -> Heartbeat:
    """Let the watcher of the node know of this rank. Where that can't be, a training goes on without."""
    faulthandler.register(SIGNAL, all_threads=True)
    me = Process.of(os.getpid())
    try:
        beats = Beats.shared()
        heartbeat = Heartbeat(beats)
        if me is not None and beats.descriptor is not None:
            agent = Process.of(os.getppid()) if "TORCHELASTIC_RUN_ID" in os.environ else None
            write_member(attempt, _member(me, agent, beats.descriptor))
    except OSError:
        return Heartbeat()
    return heartbeat


def _member(me: Process, agent: Process | None, descriptor: int) -> Member:
    return Member(
        int(os.environ.get("RANK", "0")),
        int(_node()),
        me.pid,
        me.started,
        descriptor,
        None if agent is None else agent.pid,
        None if agent is None else agent.started,
    )


def _node() -> str:
    return os.environ.get("LAUNCHER_NODE", "0")


_kept: list[subprocess.Popen[bytes]] = []
"""So that nobody waits for it, or warns that nobody does."""
