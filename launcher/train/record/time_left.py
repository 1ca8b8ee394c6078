"""Seconds to the end of a run: the steps, evaluations and checkpoints still to come, and what follows the last step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FORWARD_SHARE = 1 / 3
"""Of a training step, what the forward pass takes: the backward pass computes twice as much."""


@dataclass(frozen=True)
class Work:
    """What a run has to do."""

    steps: int
    examples_per_step: int
    validation_examples: int
    evaluate_every: int | None
    """Steps; None where only the last step is followed by an evaluation."""
    save_every: int | None
    final_examples: int
    """Those of the test split and of eval.extra, which rank 0 evaluates alone."""
    ranks: int


def time_left(
    work: Work, step: int, steps: Sequence[float], evaluations: Sequence[float], saves: Sequence[float]
) -> float:
    """Seconds from the end of `step` on, by what the newest steps, evaluations and checkpoints have taken.

    Before the first evaluation, an example is taken to need the share of a training example that is its forward pass.
    """
    step_s = _mean(steps)
    if evaluations:
        evaluation_s = _mean(evaluations)
        example_s = evaluation_s / max(1, work.validation_examples)
    else:
        example_s = FORWARD_SHARE * step_s / work.examples_per_step
        evaluation_s = example_s * work.validation_examples
    return (
        (work.steps - step) * step_s
        + _still_due(work.evaluate_every, step, work.steps) * evaluation_s
        + _still_due(work.save_every, step, work.steps) * _mean(saves)
        + work.final_examples * example_s * work.ranks
    )


def _still_due(every: int | None, step: int, last: int) -> int:
    """How often something is done after `step` that comes each `every` steps, and after the last one in any case."""
    if every is None:
        return 1
    return last // every - step // every + (last % every != 0 or step == last)


def _mean(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0
