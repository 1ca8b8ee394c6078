"""An interrupted run beside one that nobody touched: every loss, every evaluation, every tensor of the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from launcher.cli.drill_runs import FaultedRun
from launcher.cli.train_process import run_verb
from launcher.errors import RunFailed
from launcher.report.sameness import first_step, interrupted_at, near_losses, reported_alike
from launcher.runs.directory import RunDir
from launcher.runs.drills import Interruption, Sameness, TensorDifference
from launcher.runs.events import Step, read_events
from launcher.runs.verb_results import StateDifferences


def compare(whole: RunDir, interrupted: Sequence[FaultedRun]) -> list[Interruption]:
    """What each interrupted run has in common with the one that nobody touched."""
    exact = [each for each in interrupted if each.whole == whole]
    states = dict(
        zip((each.way for each in exact), _states(whole, [each.run for each in exact]), strict=True)
    )
    return [
        _compare(each.whole, each, *states[each.way]) if each.way in states else _compare_nearly(each)
        for each in interrupted
    ]


def _compare_nearly(each: FaultedRun) -> Interruption:
    """For a run that went on with other ranks, whose sums are rounded in another order."""
    near = near_losses(each.whole, each.run, each.whole.plan_tree()["precision"])
    return _interruption(
        each, (near.finding,), largest_difference=near.largest if math.isfinite(near.largest) else None
    )


def _compare(
    whole: RunDir, each: FaultedRun, final: Sameness, first_tensor: TensorDifference | None
) -> Interruption:
    findings = (*reported_alike(whole, each.run, attempts=True), final)
    return _interruption(each, findings, first_step=first_step(whole, each.run), first_tensor=first_tensor)


def _interruption(each: FaultedRun, findings: tuple[Sameness, ...], **differences: Any) -> Interruption:
    at = interrupted_at(each.run)
    resumed_from = _resumed_from(each.run, at)
    return Interruption(
        each.way,
        each.run.run_id,
        each.injected,
        interrupted_at=at,
        resumed_from=resumed_from,
        steps_lost=max(0, at - resumed_from),
        seconds_to_next_step=_seconds_to_next_step(each, at),
        passed=all(finding.passed for finding in findings),
        findings=findings,
        error=each.error,
        planted=each.planted,
        **differences,
    )


def _states(whole: RunDir, others: Sequence[RunDir]) -> list[tuple[Sameness, TensorDifference | None]]:
    """(what the final states have in common, the first tensor that differs) for each of the other runs."""
    if not others:
        return []
    what = "tensors and values of the final state"
    try:
        compared = run_verb(["states", *(str(run.path) for run in (whole, *others))], StateDifferences).states
    except RunFailed as error:
        return [(Sameness(what, 0, 1, error.message), None)] * len(others)
    return [
        (Sameness(what, it.same, it.count, None if it.first is None else str(it.first)), it.first)
        for it in compared
    ]


def _resumed_from(run: RunDir, at: int) -> int:
    """The step of the checkpoint that a later attempt went on from."""
    later = (event.step for event in read_events(run.events, Step) if event.attempt != 1)
    return min(later, default=at + 1) - 1


def _seconds_to_next_step(each: FaultedRun, at: int) -> float | None:
    """From the fault to the first step beyond those that were done before it."""
    later = (
        event.t - each.struck_at
        for event in read_events(each.run.events, Step)
        if event.step > at and (event.attempt or 0) > 1 and event.t is not None
    )
    return next(later, None)
