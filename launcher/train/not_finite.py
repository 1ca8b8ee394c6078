"""What happens after a step whose loss or gradient is no number, as train.on_nan says: stop, leave it out, or roll back.

No strategy applies such a gradient, so the weights are those of before. Every rank sees the same loss and norm, hence all
of them decide alike. Steps keep their numbers: what is left out or undone is never trained, and the schedule goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from launcher.errors import RunFailed
from launcher.train.job import Job
from launcher.train.step.checkpoints import TrainState
from launcher.train.step.pending_steps import StepResult

MOST_IN_A_ROW = 3
"""Steps in a row that may be left out: more of them are no accident of a batch."""
MOST_LEFT_OUT = 100
"""Steps of a run that may be left out."""
MOST_ROLLBACKS = 5
"""Times that a run may go back to a checkpoint."""
REMEDY = "lower train.lr, lengthen train.warmup or set train.clip"
UNTRAINED = "no step was taken before, so it is these, the loss, or the weights that it began with"


def is_bad(job: Job, result: StepResult) -> bool:
    """Whether a step has a loss or a gradient that is no number. With fp16 an overflow alone is none: its scale is lowered."""
    overflowed = result.skipped and job.plan.precision == "fp16"
    return not math.isfinite(result.loss) or not (math.isfinite(result.grad_norm) or overflowed)


def go_on(job: Job, state: TrainState, bad: Sequence[StepResult]) -> TrainState:
    """The state to go on from after these steps. Raises RunFailed('diverged') where there is none."""
    first = bad[0]
    what = _words(first)
    match job.recipe.train.on_nan:
        case "skip":
            return _left_out(job, state, bad)
        case "rollback":
            return roll_back(job, state, what, first.step)
    raise RunFailed("diverged", what, _remedy(job, first.step), first.step)


def with_sound_weights(job: Job, state: TrainState) -> TrainState:
    """The state, whose weights are all numbers: nothing else is evaluated, kept or saved.

    Raises RunFailed('diverged') where they aren't, and there is no going back.
    """
    if not job.ranks.any(not job.strategy.is_finite()):
        return state
    what = f"weights are no numbers any more after step {state.step}"
    if job.recipe.train.on_nan == "rollback":
        return roll_back(job, state, what, state.step)
    raise RunFailed("diverged", what, REMEDY, state.step)


def roll_back(job: Job, state: TrainState, what: str, step: int) -> TrainState:
    """Weights and optimizer of the last good checkpoint, at the step that the run has come to."""
    if len(state.rolled_back) >= MOST_ROLLBACKS:
        raise RunFailed("diverged", f"{what}, after {MOST_ROLLBACKS} rollbacks", _remedy(job, step), step)
    job.checkpoints.wait()
    found = job.checkpoints.newest(on_bad=lambda text: job.events.notice(text, "warning"))
    if found is None:
        text = f"{what}, and there is no checkpoint to go back to"
        raise RunFailed("diverged", text, _remedy(job, step), step)
    directory, saved = found
    job.strategy.load(directory)
    if job.graphs is not None:
        job.graphs.forget()
    text = f"{what}: back to {directory.name}, without the batches of steps {saved.step + 1} to {state.step}"
    job.events.notice(text, "warning")
    return replace(state, rolled_back=(*state.rolled_back, (saved.step + 1, state.step)))


def _left_out(job: Job, state: TrainState, bad: Sequence[StepResult]) -> TrainState:
    for result in bad:
        what, remedy = _words(result), _remedy(job, result.step)
        state = replace(state, left_out=(*state.left_out, result.step))
        row = state.left_out[-MOST_IN_A_ROW - 1 :]
        if len(row) > MOST_IN_A_ROW and row[-1] - row[0] == MOST_IN_A_ROW:
            raise RunFailed("diverged", f"{what}, after {MOST_IN_A_ROW} others in a row", remedy, result.step)
        if len(state.left_out) > MOST_LEFT_OUT:
            raise RunFailed("diverged", f"{what}, after {MOST_LEFT_OUT} others", remedy, result.step)
        job.events.notice(f"{what}: the step is left out", "warning")
    return state


def _words(bad: StepResult) -> str:
    return f"loss {bad.loss:.4g} and gradient norm {bad.grad_norm:.4g} at step {bad.step}"


def _remedy(job: Job, step: int) -> str:
    """What may help. Weights that have learnt nothing yet were spoilt by no learning rate."""
    look = f"launch data --step {step} {job.run.run_id} shows the step's examples"
    return f"{look}: {UNTRAINED}" if step == 1 else f"{REMEDY}; {look}"
