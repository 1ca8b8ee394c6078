"""Whether a run goes on by itself after a failure, when, and if not, why: progress earns a retry.

Only attempts of the same job are looked at, and of those that took its place: whoever resumes a run by hand has looked at it, and
starts the count anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from launcher.runs import attempt_plan
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir, read_result
from launcher.runs.failure_classes import HERE_TOO, ONCE_IT_TRAINS, answer_to
from launcher.runs.manifest import MANIFEST
from launcher.runs.results import Error

Next = Literal["stay", "requeue", "again"]
"""What a job's script does: end, have the scheduler start it later, or start anew at once, on the nodes it has."""
MOST_FAILURES = 3
"""Attempts in a row that may fail without a newer checkpoint."""
MOST_INTERRUPTIONS = 5
"""Attempts in a row that may be interrupted, by whatever doesn't say so, without a newer checkpoint."""
WAITS_S = (5, 30)
"""Seconds before the next attempt after the first failure since a newer checkpoint, and after the second."""


@dataclass(frozen=True)
class Decision:
    """What follows an attempt."""

    next: Next
    wait_s: int = 0
    why_not: str | None = None
    """Why the run ends here although such a failure is usually retried."""
    remedy: str | None = None
    """What helps then, where it isn't what helps against such a failure otherwise."""


@dataclass(frozen=True)
class Failure:
    """An attempt that failed."""

    attempt: int
    kind: str
    step: int | None
    saved_step: int
    """Step of the newest checkpoint then; 0 where there was none."""
    node: str | None = None
    """Which node was to blame, where another can be had."""


def after_failure(run: RunDir, attempt: AttemptDir, error: Error, *, has_scheduler: bool) -> Decision:
    """What follows an attempt that failed with this error, as far as no scheduler has decided."""
    answer = answer_to(error.kind)
    if answer == "smaller":
        can_be_smaller = attempt_plan.halve(attempt_plan.plan_tree_of(run, attempt), attempt.number)
        if can_be_smaller:
            return Decision("again")
        return Decision("stay", why_not=attempt_plan.SMALLEST, remedy=attempt_plan.NOTHING_SMALLER)
    if answer == "never" or not run.read_plan().recipe.requeue:
        return Decision("stay")
    if not has_scheduler and error.kind not in HERE_TOO:
        return Decision("stay")
    if error.step is None and error.kind in ONCE_IT_TRAINS:
        return Decision("stay")
    failures = [
        *_failures_before(run, attempt),
        Failure(attempt.number, error.kind, error.step, saved_step(run), _node(error)),
    ]
    why_not = _enough(failures)
    if why_not is not None:
        return Decision("stay", why_not=why_not)
    wait_s = WAITS_S[min(len(_since_progress(failures)), len(WAITS_S)) - 1]
    return Decision("requeue" if answer == "elsewhere" else "again", wait_s)


def without_end(run: RunDir, job: str) -> str | None:
    """Why a job is not started once more whose last attempts were all interrupted; None where that is fine."""
    saved = saved_step(run)
    interrupted = 0
    for number in reversed(run.attempt_numbers()):
        record = run.attempt(number).read()
        if (
            record.went_on_by_itself_in != job
            or record.status != "interrupted"
            or (record.saved_step or 0) != saved
        ):
            break
        interrupted += 1
    if interrupted < MOST_INTERRUPTIONS:
        return None
    return f"{interrupted} attempts in a row were interrupted without a checkpoint newer than step {saved}"


def saved_step(run: RunDir) -> int:
    """Step of the newest finished checkpoint; 0 where there is none."""
    finished = (path for path in reversed(run.checkpoint_directories()) if (path / MANIFEST).exists())
    newest = next(finished, None)
    return 0 if newest is None else int(newest.name.removeprefix("step_"))


def _failures_before(run: RunDir, attempt: AttemptDir) -> Iterator[Failure]:
    """Earlier attempts of the same job that failed, the newest last."""
    job = attempt.read().went_on_by_itself_in
    for number in run.attempt_numbers():
        earlier = run.attempt(number)
        record, result = earlier.read(), read_result(earlier.result)
        if (
            number >= attempt.number
            or record.went_on_by_itself_in != job
            or result is None
            or result.error is None
        ):
            continue
        error = result.error
        yield Failure(number, error.kind, error.step, record.saved_step or 0, _node(error))


def _node(error: Error) -> str | None:
    return error.host if answer_to(error.kind) == "elsewhere" else None


def _enough(failures: list[Failure]) -> str | None:
    """Why there has been enough of it."""
    *earlier, last = failures
    alike = [failure for failure in earlier[-1:] if _is_alike(failure, last)]
    if alike:
        where = f"at step {last.step}" if last.step else "before its first step"
        return f"attempt {alike[0].attempt} failed in the same way {where}: it would come again"
    fruitless = _since_progress(failures)
    if len(fruitless) < MOST_FAILURES:
        return None
    since = f"since the checkpoint of step {last.saved_step}" if last.saved_step else "without any checkpoint"
    return f"{len(fruitless)} attempts in a row have failed {since}"


def _is_alike(one: Failure, other: Failure) -> bool:
    """Where a node was to blame and nobody knows which, the next one may well be another."""
    if answer_to(other.kind) == "elsewhere" and other.node is None:
        return False
    return (one.kind, one.step, one.node) == (other.kind, other.step, other.node)


def _since_progress(failures: list[Failure]) -> list[Failure]:
    """The newest failures, from the last on that had a newer checkpoint than all before; older ones were lost by then."""
    found: list[Failure] = []
    newest = -1
    for failure in failures:
        if failure.saved_step > newest:
            newest, found = failure.saved_step, []
        found.append(failure)
    return found
