"""What is known about a run from outside: its job, its last events, its result."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.cli.summary import changed, owed_to_the_recipe
from launcher.errors import DamagedFile, LauncherError, UserError
from launcher.executors import JobState, executor_for
from launcher.executors.shared.outcome import ending_of, is_newer, readable_result, without_result
from launcher.health.stalls import seen_from_outside
from launcher.runs.attempts import Attempt, Hang
from launcher.runs.directory import RunDir
from launcher.runs.events import Evaluated, Phase, Recent, Said, Step, StepTimes
from launcher.runs.exclusions import Exclusion, exclusions
from launcher.runs.records import tree_of
from launcher.runs.requests import is_asked
from launcher.runs.results import Metrics, Result
from launcher.runs.trust import refuse_strangers

if TYPE_CHECKING:
    from launcher.runs.run_plan import RunPlan

QUEUE_ALONE_AFTER_S = 600.0
"""A job that Slurm puts back, or that died once more, is found out by then; later the queue alone is asked."""
FINAL = ("completed", "cancelled")
"""A scheduler doesn't start a job again after one of these."""
ON_NODES = ("running", "completing", "unreachable")
"""A job with one of these is at work, as far as anybody knows."""


@dataclass(frozen=True)
class Evaluation:
    """The newest evaluation of a split."""

    step: int
    metrics: Metrics


@dataclass(frozen=True)
class RunState:
    """Everything that `launch status RUN --json` says."""

    run_id: str
    run_dir: str
    name: str
    executor: str
    status: str
    job: JobState
    attempts: int
    created_at: float
    phase: str | None
    """What is being done; None unless the job is on its nodes."""
    step: int | None
    total: int | None
    loss: float | None
    examples_per_s: float | None
    eta_s: float | None
    metrics: Metrics | None
    """Of the newest evaluation on the validation data, and its step."""
    metrics_step: int | None
    evaluations: Mapping[str, Evaluation]
    """The newest evaluation of each split by its name."""
    stop_requested: bool
    excluded: tuple[Exclusion, ...]
    """Nodes that the run does without, since they failed it."""
    stall: Hang | None
    """Which rank makes no progress, while that lasts."""
    step_times: StepTimes | None
    """What the ranks spend their steps on, and which is slow; None where there is one rank, or too few steps."""
    result: Result | None
    next: tuple[str, ...]

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**tree_of(self), "job": asdict(self.job)}


class RunView:
    """What a run directory tells, each part of it read when it is first asked for, and once.

    Making one raises UserError where the run can't be believed.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        refuse_strangers(run)
        self.recorded = run.read_result()
        self._attempts = run.attempt_numbers()
        self._recent = Recent(run.events)
        if not self._is_told:
            self.plan  # noqa: B018  (a damaged one is found here)

    @cached_property
    def plan(self) -> RunPlan:
        """The plan. Raises UserError where it can't be read, which `_is_told` leaves to whoever asks."""
        return self.run.read_plan()

    @property
    def _is_told(self) -> bool:
        """Whether the result has all that a list of runs shows: to read a plan takes as long as all the rest of a run."""
        result = self.recorded
        if result is None or result.status != "completed" or None in (result.best, result.total_steps):
            return False
        return self.is_over

    @cached_property
    def is_over(self) -> bool:
        """Whether the end of the newest job is on record, so that no scheduler has more to tell."""
        result = self.recorded
        if result is None or not is_newer(self.run.result, self.run.jobs):
            return False
        if result.status in FINAL:
            return True
        old = _is_old(self.run.result)
        try:
            return old and not executor_for(self.plan.executor).may_start_again(self.run.last_job())
        except UserError:  # a run directory can be read where there is no Slurm
            return True

    @cached_property
    def job(self) -> JobState:
        """The newest job. Where its end is on record, only a scheduler that may start it again is asked."""
        if self.is_over:
            return self._recorded_job
        try:
            return self.told(executor_for(self.plan.executor).state(self.run))
        except UserError:
            if self._end(JobState("unknown")) is None:
                raise
            return self._recorded_job

    def told(self, state: JobState) -> JobState:
        """The newest job, where this is what its executor says of it."""
        self.job = state if state.active or self._end(state) is None else self._recorded_job
        return self.job

    @property
    def _recorded_job(self) -> JobState:
        assert self.recorded is not None
        return JobState(self.recorded.status, self.run.last_job())

    def _end(self, job: JobState) -> Result | None:
        return ending_of(self.run, job, self.recorded)

    @cached_property
    def result(self) -> Result | None:
        """The result of the newest job, or what the scheduler and the log tell where it left none."""
        job, is_active = self.job, self.job.active
        if self._end(job) is None:
            return None if is_active else _told_by_others(self.run, job) or self.recorded
        return None if is_active and job.status != "unreachable" else self.recorded

    @cached_property
    def last_step(self) -> Step | None:
        """The newest step that was told."""
        return self._recent.newest(Step)

    @property
    def step(self) -> int | None:
        """Steps done."""
        done = self.recorded.steps if self.recorded is not None and not self.job.active else None
        return done or (None if self.last_step is None else self.last_step.step)

    @property
    def total(self) -> int | None:
        """Steps to do, which only the training knows where nobody counted the data before."""
        if self.recorded is not None and self.recorded.total_steps is not None and self.is_over:
            return self.recorded.total_steps
        planned = self.plan.steps.total
        if planned is not None and self.is_over:
            return planned
        return (self.last_step and self.last_step.total) or planned

    @property
    def eta_s(self) -> float | None:
        """Seconds left, None unless it trains; a job that waits though it has begun is halted by its scheduler."""
        is_training = self.at_work and self.job.waits_for is None
        return self.last_step.eta_s if is_training and self.last_step is not None else None

    @property
    def at_work(self) -> bool:
        """Whether the newest step is one of the job that is on its nodes now."""
        if self.job.status not in ON_NODES:
            return False
        return self.last_step is None or self._is_of_last_attempt(self.last_step)

    def _is_of_last_attempt(self, event: Said) -> bool:
        return event.attempt in (None, self._attempts[-1] if self._attempts else None)

    @property
    def phase(self) -> str | None:
        """What is being done; None unless the job is on its nodes."""
        if self.job.status not in ON_NODES:
            return None
        return next((each.name for each in self._recent.each(Phase) if self._is_of_last_attempt(each)), None)

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """The newest evaluation of each split."""
        found: dict[str, Evaluation] = {}
        for event in self._recent.each(Evaluated):
            found.setdefault(event.split, Evaluation(event.step, event.metrics))
        return dict(reversed(found.items()))

    @cached_property
    def stall(self) -> Hang | None:
        """Which rank makes no progress, while that lasts."""
        return stalled(self.run, self.job)

    @property
    def created_at(self) -> float:
        """When the run was planned; Unix seconds. Raises DamagedFile where its plan is gone."""
        try:
            return self.run.plan.stat().st_mtime
        except OSError as error:
            raise DamagedFile(f"can't be read: {error.strerror}", where=str(self.run.plan)) from None

    def state(self) -> RunState:
        """All of it."""
        run, job, last = self.run, self.job, self.last_step or Step()
        validation = self.evaluations.get("validation")
        return RunState(
            run_id=run.run_id,
            run_dir=str(run.path),
            name=self.plan.name,
            executor=self.plan.executor,
            status=job.status,
            job=job,
            attempts=len(self._attempts),
            created_at=self.created_at,
            phase=self.phase,
            step=self.step,
            total=self.total,
            loss=last.loss,
            examples_per_s=last.examples_per_s if self.at_work or not job.active else None,
            eta_s=self.eta_s,
            metrics=None if validation is None else validation.metrics,
            metrics_step=None if validation is None else validation.step,
            evaluations=self.evaluations,
            stop_requested=is_asked(run.stop),
            excluded=exclusions(run),
            stall=self.stall,
            step_times=self._recent.newest(StepTimes),
            result=self.result,
            next=tuple(next_steps(run, job)),
        )


def run_views(runs: Iterable[RunDir]) -> dict[Path, RunView | LauncherError]:
    """A view of each of many runs, or why it can't be had; each executor is asked once for all of its runs."""
    found: dict[Path, RunView | LauncherError] = {}
    for run in runs:
        try:
            found[run.path] = RunView(run)
        except LauncherError as error:
            found[run.path] = error
    asked: dict[str, list[RunView]] = defaultdict(list)
    for view in found.values():
        if isinstance(view, RunView) and not view.is_over:
            asked[view.plan.executor].append(view)
    for executor, members in asked.items():
        with contextlib.suppress(LauncherError):  # each says so itself, once it is asked
            states = executor_for(executor).states([view.run for view in members])
            for view, state in zip(members, states, strict=True):
                view.told(state)
    return found


def _is_old(result: Path) -> bool:
    """Whether only the queue is asked about a job with this result: a list of many runs has many of them."""
    try:
        return time.time() - result.stat().st_mtime > QUEUE_ALONE_AFTER_S
    except FileNotFoundError:  # the next attempt has begun meanwhile
        return False


def _told_by_others(run: RunDir, job: JobState) -> Result | None:
    """The same, where the scheduler or the job's log tells more than that the job is gone."""
    if job.job_id is None or job.status not in ("failed", "unknown"):
        return None
    found = without_result(run, job)
    is_mere_absence = found.error is not None and found.error.kind == "killed"
    return found if job.status == "failed" or not is_mere_absence else None


def next_steps(run: RunDir, job: JobState) -> Iterator[str]:
    """Commands that make sense now."""
    match job.status:
        case "pending":
            yield f"launch cancel {run.run_id}"
        case "running" | "completing" | "unreachable":
            yield f"launch logs {run.run_id} -f"
            yield f"launch stop {run.run_id}"
        case "completed":
            yield f"launch predict {run.run_id} FILE"
            yield f"launch eval {run.run_id} FILE"
        case "waiting" | "stopped" | "cancelled" | "preempted":
            yield f"launch resume {run.run_id}"
        case _:
            yield f"launch logs {run.run_id}"
            failed = owed_to_the_recipe(readable_result(run))
            yield changed(run) if failed else f"launch resume {run.run_id}"


def stalled(run: RunDir, job: JobState) -> Hang | None:
    """What makes no progress in a job that is on its nodes."""
    attempt = run.last_attempt() if job.status in ON_NODES else None
    record = None if attempt is None else attempt.read()
    if attempt is None or record is None or record.job_id != job.job_id or record.status is not None:
        return None
    return seen_from_outside(attempt)


def attempt_records(run: RunDir) -> tuple[list[Attempt], list[str]]:
    """What is on record about each attempt, of a damaged record its number alone, and a sentence for each of these."""
    records, damages = [], []
    for number in run.attempt_numbers():
        try:
            records.append(run.attempt(number).read())
        except DamagedFile as error:
            records.append(Attempt(number))
            damages.append(str(replace(error.problems[0], remedy=None)))
    return records, damages
