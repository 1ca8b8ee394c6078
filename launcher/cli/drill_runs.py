"""The runs of a drill, and what is compared between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.cli.follow import Tail, every
from launcher.cli.output import say
from launcher.cli.summary import cause
from launcher.errors import RunFailed, UserError
from launcher.executors import Executor, executor_for
from launcher.planning.prepare import prepare
from launcher.report.sameness import Finding, computed_alike, interrupted_at
from launcher.runs import directory as runs
from launcher.runs.directory import RunDir
from launcher.runs.events import Saved, Step

POLL_S = 0.02
SCHEDULER_POLL_S = 1.0
GROWTH = 4
LONGEST = 5000


@dataclass(frozen=True)
class Comparison:
    """An interrupted run beside one that nobody touched."""

    way: str
    run_id: str
    interrupted_at: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)

    def rows(self) -> list[list[str]]:
        """Lines of the table."""
        way = f"{self.way} at step {self.interrupted_at}"
        return [[way, it.what, str(it.same), str(it.count), it.difference or ""] for it in self.findings]

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "way": self.way,
            "run_id": self.run_id,
            "interrupted_at": self.interrupted_at,
            "passed": self.passed,
            "findings": [vars(finding) for finding in self.findings],
        }


class DrillRuns:
    """Starts the same recipe several times, under names of its own."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], cwd: Path, prefix: str) -> None:
        self._words = words
        self._environ = environ
        self._cwd = cwd
        self._prefix = prefix

    def perform(self, ways: Sequence[str], steps: int) -> tuple[RunDir, dict[str, RunDir]]:
        """(the run that nobody touched, the interrupted run of each way), all completed and of the same length.

        Raises RunFailed where a run fails by itself.
        """
        interrupted: dict[str, RunDir] = {}
        while True:
            for way in ways:
                run = self._interrupted(way, steps)
                if run is None:
                    break
                interrupted[way] = run
            if len(interrupted) == len(ways):
                return self._whole(steps), interrupted
            for run in interrupted.values():
                run.discard()
            interrupted.clear()
            steps *= GROWTH
            if steps > LONGEST:
                raise RunFailed("drill", "the run always ended before it could be interrupted")
            say(f"it ended before it could be interrupted: again with {steps} steps")

    def _whole(self, steps: int) -> RunDir:
        run, executor = self._create("whole", steps)
        say(f"{run.run_id}: {steps} steps, undisturbed")
        executor.start(run)
        _wait(run, executor)
        _expect(run, "completed")
        return run

    def _interrupted(self, way: str, steps: int) -> RunDir | None:
        """A run that was interrupted half-way and resumed; None where it was too quick for that."""
        run, executor = self._create(way, steps)
        say(f"{run.run_id}: {steps} steps, {'stopped' if way == 'stop' else 'killed'} half-way and resumed")
        executor.start(run)
        if _reaches(run, executor, steps // 2, with_checkpoint=way == "kill"):
            with contextlib.suppress(UserError):  # it ended just now
                (executor.stop if way == "stop" else executor.cancel)(run)
            _wait(run, executor)
        result = run.read_result()
        if result is not None and result.status == "completed":
            run.discard()
            return None
        _expect(run, "stopped" if way == "stop" else "cancelled")
        executor.start(run)
        _wait(run, executor)
        _expect(run, "completed")
        return run

    def _create(self, name: str, steps: int) -> tuple[RunDir, Executor]:
        given = {word.partition("=")[0] for word in self._words}
        ours = {
            "train.max_steps": steps,
            "checkpoint.every": max(1, steps // 4),
            "deterministic": "true",
            "requeue": "false",
            "tracking.wandb.mode": "disabled",
        }
        words = [f"{key}={value}" for key, value in ours.items() if key not in given]
        run_id = f"{self._prefix}-{name}-{steps}"
        prepared = prepare([*self._words, *words, f"run_id={run_id}"], self._environ, self._cwd)
        run = runs.create(Path(prepared.plan.run_dir), prepared.files)
        return run, executor_for(prepared.plan.executor)


def compare(whole: RunDir, other: RunDir, way: str) -> Comparison:
    """Every loss that either run reported, the metrics of evaluations, and the weights at the end."""
    return Comparison(way, other.run_id, interrupted_at(other), computed_alike(whole, other, attempts=True))


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


def _wait(run: RunDir, executor: Executor) -> None:
    is_over = _is_over(run, executor)
    while not is_over():
        time.sleep(POLL_S)


def _is_over(run: RunDir, executor: Executor) -> Callable[[], bool]:
    interval_s = SCHEDULER_POLL_S if run.job_sbatch.exists() else POLL_S
    return every(interval_s, lambda: not executor.state(run).active)


def _expect(run: RunDir, status: str) -> None:
    result = run.read_result()
    if result is None or result.status != status:
        reason = "\n".join(cause(None if result is None else result.error)).strip()
        found = "gone" if result is None else result.status
        raise RunFailed("drill", f"{run.run_id} is {found}, expected {status}: {reason}")
