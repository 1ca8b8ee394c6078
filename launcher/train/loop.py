"""The training loop: fetch, forward, backward, clip, step, log, save, in reading order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from launcher.recipe.fields import Every
from launcher.train.batches import GlobalBatch, Share, global_batches
from launcher.train.job import Job
from launcher.train.model.layer_depth import depths
from launcher.train.not_finite import go_on, is_bad, with_sound_weights
from launcher.train.packed.groups import examples_of_step
from launcher.train.process.core_waits import CoreTime, core_time
from launcher.train.process.random_state import dropout_seed, seed_dropout
from launcher.train.record.loss_spikes import MOST_EXAMPLES
from launcher.train.record.samples import SampleLog
from launcher.train.record.time_left import Work, time_left
from launcher.train.step.captured_steps import Done
from launcher.train.step.checkpoints import TrainState
from launcher.train.step.pending_steps import PendingSteps, StepResult, UnreadStep
from launcher.train.step.schedule import learning_rate
from launcher.train.tasks import MicroBatch
from launcher.train.validation import evaluate_and_keep_best, out_of_patience, try_probes
from launcher.train.whole_batch import parts_of, share_of_loss

Ending = Literal["completed", "stopped"]


@dataclass
class StepTimer:
    """Seconds of each step, evaluation and saving left out, and of those."""

    started: float = field(default_factory=time.perf_counter)
    core_time: CoreTime | None = field(default_factory=core_time)
    """Of this process before the first step."""
    step_seconds: list[float] = field(default_factory=list)
    evaluation_seconds: list[float] = field(default_factory=list)
    save_seconds: list[float] = field(default_factory=list)

    def restart(self) -> None:
        """Count from now on."""
        self.started = time.perf_counter()

    def add_save(self, seconds: float) -> None:
        """Note that the last save held the training up for so long once more."""
        if self.save_seconds:
            self.save_seconds[-1] += seconds
        self.started += seconds

    def add(self, steps: int) -> float:
        """Note that `steps` more steps have ended; the seconds that each of them took."""
        now = time.perf_counter()
        seconds, self.started = (now - self.started) / steps, now
        self.step_seconds += [seconds] * steps
        return seconds


def train(job: Job, state: TrainState) -> tuple[Ending, TrainState, StepTimer]:
    """Train from `state` until the end, a stop, or an early stop.

    Raises RunFailed('diverged') where a loss or gradient is no number, unless train.on_nan says otherwise.
    """
    timer, pending = StepTimer(), PendingSteps(job.ranks.device)
    batches = global_batches(job, state.step)
    samples = _sample_log(job, state.step)
    stopping = job.ranks.any(job.stop())
    if state.step == 0 and not stopping:
        try_probes(job, state)
    _save_start(job, state)
    job.events.phase("training", state.step, job.steps.total)
    while True:
        state = _checked(job, state, stopping)
        if not stopping and _evaluation_due(job, state):
            state, stopping = _evaluate(job, state, timer)
        finished = state.step >= job.steps.total or out_of_patience(job, state)
        if stopping or finished or _due(job.recipe.checkpoint.every, state.step, job.steps.per_epoch):
            _save(job, state, timer)
        if stopping and not (finished and state.evaluated_step == state.step):
            return "stopped", state, timer
        if finished:
            return "completed", state, timer
        if not pending:
            timer.restart()

        job.heartbeat.begin_step(state.step)
        batch = next(batches)
        samples.write(batch.step + 1, batch.example_ids())
        lr = _learning_rate(job, state)
        _begin_step(job, batch)
        done = _replay(job, batch, lr)
        if done is None:
            loss, tokens, positions = torch.zeros((), device=job.ranks.device), 0, 0
            for part in parts_of(job, batch):
                job.heartbeat.forward()
                loss_sum = forward(job, part.batch, part.share) * part.weight
                job.heartbeat.backward()
                job.strategy.backward(loss_sum, batch.units, last=part.last and job.adversary is None)
                if job.adversary is not None:
                    with job.adversary.moved(part.batch):
                        moved = forward(job, part.batch) * part.weight
                        job.strategy.backward(moved, batch.units, last=part.last)
                loss += loss_sum.detach() / batch.units
                del loss_sum  # kept, its graph would tie gradients of a step that is captured to this stream
                tokens, positions = tokens + part.tokens, positions + part.positions
                job.heartbeat.data()
            job.heartbeat.gradients()
            job.strategy.clip()
            job.heartbeat.optimizer()
            outcome = job.strategy.step(lr)
            done = Done(loss, outcome.grad_norm, tokens, positions, outcome.skipped)
        if job.sparsity is not None:
            job.sparsity.hold(state.step + 1)

        state = replace(state, step=state.step + 1)
        pending.add(_summed(job, state.step, lr, batch, done))
        state, results = _read(job, state, timer, pending)
        stopping = stopping or any(result.asked_to_stop for result in results)


def _summed(job: Job, step: int, lr: float, batch: GlobalBatch, done: Done) -> UnreadStep:
    """What a step came to, with the sums over all ranks under way: loss, tokens, wishes to stop, and times of the parts."""
    job.heartbeat.results()
    shares = job.heartbeat.shares(job.ranks.rank, job.ranks.world_size)
    counts = (float(done.tokens), float(done.positions), float(job.stop()))
    sums = job.ranks.sum_unread(done.loss, [*counts, *shares])
    return UnreadStep(step, lr, batch.examples, sums, done.grad_norm, done.skipped)


def forward(job: Job, batch: MicroBatch, share: Share | None = None) -> torch.Tensor:
    """The sum of a micro-batch's loss terms; with R-Drop, that of two passes."""
    if share is not None:
        return share_of_loss(job, batch, share)
    output = job.strategy.forward(batch.inputs)
    alpha = job.recipe.train.r_drop
    if not alpha:
        return job.task.loss_sum(output, batch)
    return job.task.agreeing_loss_sum(output, job.strategy.forward(batch.inputs), batch, alpha)


def _begin_step(job: Job, batch: GlobalBatch) -> None:
    _unfreeze(job, batch.step)
    seed_dropout(job.ranks.device, dropout_seed(job.recipe.seed, batch.step, job.ranks.rank))
    job.strategy.train_mode(True)


def _replay(job: Job, batch: GlobalBatch, lr: float) -> Done | None:
    """Take the step as a CUDA graph; None where it has to be taken in the ordinary way, and nothing is done yet."""
    if job.graphs is None or len(batch.parts) != 1 or batch.parts[0] is None:
        return None
    done = job.graphs.step(job.dataset.train, batch.parts[0], batch.epoch, batch.units, lr)
    if done is None:
        _begin_step(job, batch)  # the attempt may have drawn from the generator
    return done


def _learning_rate(job: Job, state: TrainState) -> float:
    """The learning rate of the next step: that of the schedule, times what plateaus have cut it to."""
    train = job.recipe.train
    rate = learning_rate(train, state.step, job.steps)
    return rate * max(state.plateau_scale, train.decay.floor)


def _unfreeze(job: Job, step: int) -> None:
    """Let one more layer learn, from the top down, each time that train.unfreeze_every has passed."""
    every = job.recipe.train.unfreeze_every
    if every is not None:
        steps = job.steps.per_epoch if every == "epoch" else every
        job.strategy.unfreeze(max(0, max(depths(job.built.model).values()) - step // steps))


def _checked(job: Job, state: TrainState, stopping: bool) -> TrainState:
    """The state, with weights that are numbers where they are about to be evaluated or saved."""
    return with_sound_weights(job, state) if stopping or _pauses(job, state) else state


def _read(
    job: Job, state: TrainState, timer: StepTimer, pending: PendingSteps
) -> tuple[TrainState, list[StepResult]]:
    """Log the steps whose results are due, and answer those that went wrong."""
    results = pending.results(everything=_pauses(job, state))
    if any(is_bad(job, result) for result in results):
        results += pending.results(everything=True)
    job.heartbeat.end_step()
    state = _log(job, state, timer, results)
    _keep_up(job, state, timer)
    bad = [result for result in results if is_bad(job, result)]
    return (go_on(job, state, bad) if bad else state), results


def _log(job: Job, state: TrainState, timer: StepTimer, results: list[StepResult]) -> TrainState:
    """Record the steps whose results are known by now."""
    seconds = timer.add(len(results)) if results else 0.0
    for result in results:
        skipped, wall_s = state.skipped_steps + result.skipped, state.wall_s + seconds
        state = replace(state, skipped_steps=skipped, wall_s=wall_s)
        _report(job, state, timer, result, seconds)
    job.pace.note(timer.step_seconds, timer.evaluation_seconds, job.checkpoints.seconds)
    return state


def _report(job: Job, state: TrainState, timer: StepTimer, result: StepResult, seconds: float) -> None:
    epoch = result.step / job.steps.per_epoch
    job.rank_times.note(result.step, result.shares)
    job.record.train(
        result.step,
        {
            "epoch": epoch,
            "train/loss": result.loss,
            "train/lr": result.lr,
            "train/grad_norm": result.grad_norm,
            "train/skipped_steps": state.skipped_steps,
            "perf/examples_per_s": result.examples / seconds,
            "perf/tokens_per_s": result.tokens / seconds,
            "perf/padding": result.padding,
            "perf/step_s": seconds,
            **job.rank_times.slowest(),
        },
    )
    job.events.emit(
        "step",
        step=result.step,
        total=job.steps.total,
        epoch=epoch,
        loss=result.loss,
        lr=result.lr,
        examples_per_s=result.examples / seconds,
        tokens_per_s=result.tokens / seconds,
        eta_s=_time_left(job, timer, result.step),
    )
    _tell_spike(job, result)


def _tell_spike(job: Job, result: StepResult) -> None:
    """Record which examples a step had whose loss stands out; every rank computes the order of data, so nobody is asked."""
    usual = job.spikes.usual_if_spike(result.loss)
    if usual is None or not job.ranks.is_main:
        return
    train, size = job.dataset.train, job.plan.layout.global_batch_size
    examples = examples_of_step(result.step, len(train), job.recipe.seed, size, job.task.groups(train))
    shown = [int(each) for each in examples[:MOST_EXAMPLES]]
    job.events.emit("spike", step=result.step, loss=result.loss, usual=usual, examples=shown)
    look = f"launch data --step {result.step} {job.run.run_id} shows its texts"
    job.events.notice(f"loss {result.loss:.4g} at step {result.step}, usually {usual:.4g}: {look}", "warning")


def _time_left(job: Job, timer: StepTimer, step: int) -> float:
    """Seconds to the end of the run."""
    recipe, per_epoch, validation = job.recipe, job.steps.per_epoch, job.dataset.validation
    validated = len(validation) if validation is not None else 0
    tested = len(job.dataset.test) if job.dataset.test is not None else 0
    work = Work(
        steps=job.steps.total,
        examples_per_step=job.plan.layout.global_batch_size,
        validation_examples=validated,
        evaluate_every=_steps_between(recipe.eval.every, per_epoch),
        save_every=_steps_between(recipe.checkpoint.every, per_epoch),
        final_examples=tested
        + validated * len(recipe.eval.extra),  # how long these files are is seen only then
        ranks=job.ranks.world_size,
    )
    return time_left(
        work, step, timer.step_seconds[-50:], timer.evaluation_seconds[-3:], timer.save_seconds[-3:]
    )


def _steps_between(every: Every | None, per_epoch: int) -> int | None:
    return per_epoch if every == "epoch" else every


def _evaluate(job: Job, state: TrainState, timer: StepTimer) -> tuple[TrainState, bool]:
    """Evaluate, and keep the model where it is the best; returns also whether a stop was asked for meanwhile."""
    started = time.perf_counter()
    job.heartbeat.phase("evaluating")
    with job.strategy.averaged():
        state, stopping = evaluate_and_keep_best(job, state)
    timer.evaluation_seconds.append(time.perf_counter() - started)
    return state, stopping


def _evaluation_due(job: Job, state: TrainState) -> bool:
    if state.step == 0 or state.evaluated_step == state.step:
        return False
    return state.step >= job.steps.total or _due(job.recipe.eval.every, state.step, job.steps.per_epoch)


def _pauses(job: Job, state: TrainState) -> bool:
    """Whether something is to be done before the next step that needs the results of all steps."""
    saving = _due(job.recipe.checkpoint.every, state.step, job.steps.per_epoch)
    return state.step >= job.steps.total or saving or _evaluation_due(job, state)


def _due(every: Every | None, step: int, per_epoch: int) -> bool:
    if every is None or step == 0:
        return False
    return step % (per_epoch if every == "epoch" else every) == 0


def _save(job: Job, state: TrainState, timer: StepTimer) -> None:
    if state.step == 0:
        return
    job.heartbeat.save()
    job.record.sync()
    stall = job.checkpoints.save(job.strategy, state)
    timer.save_seconds.append(stall)
    job.events.emit("checkpoint", step=state.step, stall_s=stall)
    _keep_up(job, state, timer)


def _keep_up(job: Job, state: TrainState, timer: StepTimer) -> None:
    """Go on only a little while the last checkpoint is being written. RunFailed as soon as it could not be written."""
    interval = _steps_between(job.recipe.checkpoint.every, job.steps.per_epoch) or job.steps.per_epoch
    timer.add_save(job.checkpoints.keep_up(state.step, interval, job.heartbeat.save))


def _save_start(job: Job, state: TrainState) -> None:
    """Have something to go back to before the first checkpoint is due."""
    if job.recipe.train.on_nan == "rollback" and state.step == 0:
        job.checkpoints.save(job.strategy, state)


def _sample_log(job: Job, start: int) -> SampleLog:
    return SampleLog.open(job.run, job.ranks.rank, start) if job.recipe.debug.samples else SampleLog()
