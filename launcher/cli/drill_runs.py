"""The runs of a drill: one that nobody touches, and one for each fault, which is injected and resumed from."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.follow import Tail, every
from launcher.cli.output import say
from launcher.cli.summary import cause
from launcher.cli.train_process import run_verb
from launcher.errors import LauncherError, RunFailed, UserError
from launcher.executors import Executor, executor_for
from launcher.planning.plan import Plan
from launcher.planning.prepare import Prepared, prepare
from launcher.planning.replan import cut_for_its_ranks, replan
from launcher.recipe.recipe import Recipe
from launcher.runs import directory as runs
from launcher.runs.directory import RunDir
from launcher.runs.events import Saved, Step, read_events
from launcher.runs.verb_results import Planted

POLL_S = 0.02
SCHEDULER_POLL_S = 1.0
ENDS_S = 10.0
"""Longest that a run that is over may still have a job."""
GROWTH = 4
LONGEST = 5000
LEAST_S = 3.0
"""Seconds that half of the steps should take: time enough to meet a run before its end."""
STEPS_KEY = "train.max_steps"


@dataclass(frozen=True)
class Fault:
    """Something that is done to a run."""

    said: str
    """What happens to it, in words."""
    leaves: tuple[str | None, ...]
    """What result.json may say of the run afterwards; None where there is none."""
    needs_checkpoint: bool = True
    """Whether there must be a checkpoint already, or one is made now."""


FAULTS: Mapping[str, Fault] = {
    "stop": Fault("asked to save and stop", ("stopped",), needs_checkpoint=False),
    "kill": Fault("one of its ranks killed", ("failed",)),
    "hang": Fault("one of its ranks halted", ("failed",)),
    "node": Fault("all that trains on one of its nodes killed at once", ("failed", None)),
    "disk": Fault("its disk refusing what it writes", ("failed",)),
    "world": Fault(
        "asked to save and stop, and to go on with another number of ranks",
        ("stopped",),
        needs_checkpoint=False,
    ),
}
WITHOUT_DROPOUT = ("still", "world")
"""Runs that are compared across numbers of ranks."""


@dataclass(frozen=True)
class FaultedRun:
    """A run that something was done to, and that was resumed to its end."""

    way: str
    run: RunDir
    injected: str
    struck_at: float
    """Unix seconds."""
    error: str | None
    """The class of the error that it recorded for it."""
    planted: str | None
    whole: RunDir
    """The run that nobody touched, to compare it with."""


class DrillRuns:
    """Starts the same recipe several times, under names of its own."""

    def __init__(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path,
        prefix: str,
        *,
        steps: int,
        plant: bool = False,
    ) -> None:
        given = [word.removeprefix(f"{STEPS_KEY}=") for word in words if word.startswith(f"{STEPS_KEY}=")]
        self.steps = int(given[-1]) if given and given[-1].isdigit() else steps
        """Optimizer steps of each run, known once they were performed."""
        self._words = [word for word in words if not word.startswith(f"{STEPS_KEY}=")]
        self._environ = environ
        self._cwd = cwd
        self._prefix = prefix
        self._plant = plant
        self._made: list[tuple[RunDir, Executor]] = []

    @contextlib.contextmanager
    def removed_on_interrupt(self, *, keep: bool) -> Iterator[None]:
        """Where a signal ends the drill in here, leave those runs alone whose job goes on, or all that are to be kept."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            left = [run.run_id for run, executor in self._made if keep or not _remove(run, executor)]
            if keep or not left:
                what = f"its runs stay: {', '.join(left)}" if left else "its runs are removed"
            else:
                what = f"launch cancel {' '.join(left)}, whose jobs go on"
            interrupt.add_note(f"{what}; the same command begins again")
            raise

    def perform(self, ways: Sequence[str]) -> tuple[RunDir, list[FaultedRun]]:
        """(the run that nobody touched, the interrupted run of each way), all completed and of the same length.

        Raises RunFailed where a run fails by itself, or ends otherwise than its fault should make it.
        """
        whole = self._long_enough()
        still = self._whole("still") if "world" in ways else whole
        done: list[FaultedRun] = []
        while len(done) < len(ways):
            way = ways[len(done)]
            interrupted = self._interrupted(way, still if way == "world" else whole)
            if interrupted is not None:
                done.append(interrupted)
                continue
            for run in {whole, still, *(each.run for each in done)}:
                run.discard()
            done.clear()
            self._lengthen(GROWTH * self.steps)
            whole = self._whole()
            still = self._whole("still") if "world" in ways else whole
        return whole, done

    def refuse(self, ways: Sequence[str]) -> None:
        """Raises UserError for a way that this recipe can't go, before anything runs."""
        if "world" not in ways:
            return
        plan = self._prepared("world").plan
        how = cut_for_its_ranks(plan.zero_stage, plan.recipe.zero.offload)
        if how is not None:
            reason = f"{how} resumes on the number of ranks that it had"
            raise UserError(reason, field="--faults", value="world", remedy="leave world out")

    def _long_enough(self) -> RunDir:
        """An undisturbed run of as many steps as it takes to meet a run in the middle."""
        whole = self._whole()
        times = [event.t for event in read_events(whole.events, Step) if event.t]
        step_s = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
        needed = math.ceil(2 * LEAST_S / max(step_s, 1e-3))
        if needed <= self.steps:
            return whole
        whole.discard()
        self._lengthen(min(needed, LONGEST))
        return self._whole()

    def _lengthen(self, steps: int) -> None:
        if steps > LONGEST:
            raise RunFailed("drill", "the run always ended before it could be interrupted")
        say(f"its steps are too quick to interrupt it: again with {steps}")
        self.steps = steps

    def _whole(self, name: str = "whole") -> RunDir:
        run, executor, _ = self._create(name)
        without = ", without dropout" if name == "still" else ""
        say(f"{run.run_id}: {self.steps} steps, undisturbed{without}")
        _complete(run, executor)
        return run

    def _interrupted(self, way: str, whole: RunDir) -> FaultedRun | None:
        """A run that was interrupted half-way and resumed; None where it was too quick for that."""
        run, executor, plan = self._create(way)
        fault = FAULTS[way]
        say(f"{run.run_id}: {self.steps} steps, {fault.said} half-way, and resumed")
        with _ended_on_failure(run, executor):
            executor.start(run)
            injected, struck_at = "nothing", time.time()
            if _reaches(run, executor, self.steps // 2, with_checkpoint=fault.needs_checkpoint):
                struck_at = time.time()
                injected = _strike(run, executor, way, plan)
            _ends(run, executor, math.inf)
        result = run.read_result()
        if result is not None and result.status == "completed":
            run.discard()
            return None
        _expect(run, fault.leaves)
        error = None if result is None or result.error is None else result.error.kind
        planted = _planted(run) if self._plant else None
        if way == "world":
            injected = self._change_world(run, plan)
        _complete(run, executor)
        return FaultedRun(way, run, injected, struck_at, error, planted, whole)

    def _change_world(self, run: RunDir, plan: Plan) -> str:
        """Plan the rest of a run for half of its ranks, or for two where it has one."""
        word = f"nodes={plan.nodes // 2}" if plan.nodes > 1 else f"gpus={plan.gpus // 2 or 1}"
        if plan.world_size == 1:
            word = "gpus=2"
        now = replan(run, [word], self._environ, self._cwd)
        return f"launch stop, and launch resume {word}: from {plan.world_size} ranks to {now.world_size}"

    def _create(self, name: str) -> tuple[RunDir, Executor, Plan]:
        prepared = self._prepared(name)
        shared = prepared.plan.recipe.shared
        run = runs.create(Path(prepared.plan.run_dir), prepared.files, shared=shared)
        executor = executor_for(prepared.plan.executor)
        self._made.append((run, executor))
        return run, executor, prepared.plan

    def _prepared(self, name: str) -> Prepared:
        given = {word.partition("=")[0] for word in self._words}
        ours = {
            STEPS_KEY: self.steps,
            "checkpoint.every": max(1, self.steps // 4),
            "deterministic": "true",
            "requeue": "false",
            "tracking.wandb.mode": "disabled",
        }
        words = [f"{key}={value}" for key, value in ours.items() if key not in given]
        words = [*self._words, *words, f"run_id={self._prefix}-{name}-{self.steps}"]
        prepared = prepare(words, self._environ, self._cwd)
        if name not in WITHOUT_DROPOUT:
            return prepared
        keys = _dropout_keys(prepared.plan.recipe)
        kept = [word for word in words if word.partition("=")[0] not in keys]
        return prepare([*kept, *(f"{key}=0" for key in keys)], self._environ, self._cwd)


def _dropout_keys(recipe: Recipe) -> list[str]:
    """Keys of all dropout that this recipe has: its masks depend on the number of ranks."""
    keys = [f"model.dropout.{kind}" for kind in type(recipe.model.dropout).model_fields]
    adapters = ["lora.dropout"] if recipe.tuning == "lora" else []
    return [*keys, *adapters, *(["model.head.dropout"] if recipe.model.head.layers else [])]


@contextlib.contextmanager
def _ended_on_failure(run: RunDir, executor: Executor) -> Iterator[None]:
    """No job goes on whose drill has ended, by a Ctrl-C or otherwise."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(LauncherError):
            if executor.state(run).active:
                executor.cancel(run)
        raise


def _complete(run: RunDir, executor: Executor) -> None:
    """Start a run and wait for its end. Raises RunFailed where that isn't the end of its steps."""
    with _ended_on_failure(run, executor):
        executor.start(run)
        _ends(run, executor, math.inf)
    _expect(run, ("completed",))


def _remove(run: RunDir, executor: Executor) -> bool:
    """Remove a run, once its job is over; False where that is not so within seconds."""
    if run.path.exists() and _ends(run, executor, ENDS_S):
        run.discard()
    return not run.path.exists()


def _strike(run: RunDir, executor: Executor, way: str, plan: Plan) -> str:
    """Do to a run what its fault says; returns that in words. Raises LauncherError where it couldn't be done."""
    try:
        if way in ("stop", "world"):
            executor.stop(run)
            return "launch stop"
        return executor.inject(run, way, _struck_rank(way, plan.world_size))
    except LauncherError:
        if _ends(run, executor, ENDS_S):  # it was over already
            return "nothing"
        raise


def _struck_rank(way: str, world_size: int) -> int:
    """The last node is lost; the disk is that of the rank that always writes; any rank is killed or halted."""
    return {"node": world_size - 1, "disk": 0}.get(way, secrets.randbelow(world_size))


def _planted(run: RunDir) -> str:
    """Change a bit of the checkpoint from which the run goes on."""
    planted = run_verb(["plant", str(run.path)], Planted).planted
    say(f"{run.run_id}: changed {planted}")
    return planted


def _reaches(run: RunDir, executor: Executor, step: int, *, with_checkpoint: bool) -> bool:
    """Wait until the run has done this many steps (and saved a checkpoint); False where it ends before."""
    tail = Tail(run.events)
    reached, saved = False, not with_checkpoint
    is_over = _is_over(run, executor)
    while True:
        active = not is_over()
        for event in tail.events():
            reached = reached or (isinstance(event, Step) and event.step >= step)
            saved = saved or isinstance(event, Saved)
        if reached and saved:
            return active
        if not active:
            return False
        time.sleep(POLL_S)


def _ends(run: RunDir, executor: Executor, timeout_s: float) -> bool:
    """Wait until the run has no job any more; False where it still has one then."""
    is_over, began = _is_over(run, executor), time.monotonic()
    while not (over := is_over()) and time.monotonic() - began < timeout_s:
        time.sleep(POLL_S)
    return over


def _is_over(run: RunDir, executor: Executor) -> Callable[[], bool]:
    interval_s = SCHEDULER_POLL_S if executor.takes_nodes else POLL_S
    return every(interval_s, lambda: not executor.state(run).active)


def _expect(run: RunDir, statuses: Sequence[str | None]) -> None:
    result = run.read_result()
    status = None if result is None else result.status
    if status not in statuses:
        reason = "\n".join(cause(None if result is None else result.error)).strip()
        expected = " or ".join(each or "gone" for each in statuses)
        raise RunFailed("drill", f"{run.run_id} is {status or 'gone'}, expected {expected}: {reason}")
