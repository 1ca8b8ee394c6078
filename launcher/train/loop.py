"""The training loop: fetch, forward, backward, clip, step, log, save, in reading order."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TextIO

import numpy as np
import torch

from launcher.errors import RunFailed
from launcher.planning.plan import Plan
from launcher.recipe.fields import Every
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.compress.magnitude_pruning import Sparsity
from launcher.train.model.build import BuiltModel, save_model
from launcher.train.model.layer_depth import depths
from launcher.train.packed.batch_layout import (
    CPU_OVERHEAD,
    CUDA_OVERHEAD,
    Indices,
    Limits,
    epoch_order,
    global_batch,
    lay_out,
)
from launcher.train.packed.collate import Collate, token_lengths
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks
from launcher.train.process.stop_requests import StopFlag
from launcher.train.record.recorder import Record
from launcher.train.step.captured_steps import GraphedSteps
from launcher.train.step.checkpoints import Checkpoints, TrainState
from launcher.train.step.pending_steps import Flight, Launched, StepResult
from launcher.train.step.regularisation import Adversary
from launcher.train.step.schedule import Horizon, learning_rate
from launcher.train.step.strategy import StepOutcome, Strategy
from launcher.train.tasks import MicroBatch, Task
from launcher.train.tokens.cache import Dataset
from launcher.train.use.cloze_probes import Probes, try_probes
from launcher.train.use.evaluation import Interrupted, evaluate

Ending = Literal["completed", "stopped"]


@dataclass(frozen=True)
class Job:
    """Everything the loop works with, made by `session.prepare`."""

    run: RunDir
    plan: Plan
    recipe: Recipe
    ranks: Ranks
    task: Task
    dataset: Dataset
    tokenizer: Any
    built: BuiltModel
    strategy: Strategy
    collate: Collate
    probes: Probes | None
    adversary: Adversary | None
    checkpoints: Checkpoints
    sparsity: Sparsity | None
    graphs: GraphedSteps | None
    record: Record
    events: Events
    stop: StopFlag
    per_epoch: int
    """Optimizer steps in an epoch."""
    total: int
    """Optimizer steps in all."""
    warmup: int
    """Steps of linear warm-up."""


@dataclass
class Speed:
    """Throughput since the last report, evaluation and saving left out."""

    started: float = field(default_factory=time.perf_counter)
    step_seconds: list[float] = field(default_factory=list)

    def lap(self, steps: int) -> float:
        """Seconds of each of the `steps` steps that have been read since the last lap."""
        now = time.perf_counter()
        seconds, self.started = (now - self.started) / steps, now
        self.step_seconds += [seconds] * steps
        return seconds


def train(job: Job, state: TrainState) -> tuple[Ending, TrainState, Speed]:
    """Train from `state` until the end, a stop, or an early stop.

    Raises RunFailed('diverged') where a gradient is not finite.
    """
    speed, flight = Speed(), Flight(job.ranks.device)
    batches = step_batches(job, state.step)
    samples = _samples_file(job, state.step)
    stopping = job.ranks.any(job.stop())
    if state.step == 0 and not stopping:
        _try_probes(job, state)
    job.events.phase("training", state.step, job.total)
    while True:
        if not stopping and _evaluation_due(job, state):
            with job.strategy.averaged():
                state, stopping = _evaluate_and_keep_best(job, state)
        finished = state.step >= job.total or _out_of_patience(job, state)
        if stopping or finished or _due(job.recipe.checkpoint.every, state.step, job.per_epoch):
            _save(job, state)
        if stopping and not (finished and state.evaluated_step == state.step):
            return "stopped", state, speed
        if finished:
            return "completed", state, speed
        if not flight:
            speed.started = time.perf_counter()

        _unfreeze(job, state.step)
        lr = _learning_rate(job, state)
        examples = next(batches)
        loss, tokens, outcome = _optimize(job, state.step, examples, lr, samples)
        if job.sparsity is not None:
            job.sparsity.hold(state.step + 1)
        sums = job.ranks.sum_unread(loss, [tokens, float(job.stop())])
        state = replace(state, step=state.step + 1)
        flight.add(Launched(state.step, lr, len(examples), sums, outcome.grad_norm, outcome.skipped))

        results = flight.landed(everything=_pauses(job, state))
        seconds = speed.lap(len(results)) if results else 0.0
        for result in results:
            state = replace(
                state,
                skipped_steps=state.skipped_steps + result.skipped,
                wall_s=state.wall_s + seconds,
            )
            _report(job, state, speed, result, seconds)
            stopping = stopping or result.asked_to_stop


def step_batches(job: Job, start: int) -> Iterator[Indices]:
    """Example ids of each global batch from step `start` on, epoch after epoch."""
    step, epoch, order = start, -1, np.empty(0, dtype=np.int64)
    while True:
        if step // job.per_epoch != epoch:
            epoch = step // job.per_epoch
            order = epoch_order(len(job.dataset.train), job.recipe.seed, epoch)
        yield global_batch(order, step % job.per_epoch, job.plan.layout.global_batch_size)
        step += 1


def micro_batches(job: Job, examples: Indices) -> list[Indices | None]:
    """This rank's micro-batches of a global batch; None stands for one that only keeps step with the other ranks."""
    layout = job.plan.layout
    on_gpu = job.ranks.device.type == "cuda"
    overhead = CUDA_OVERHEAD if on_gpu else CPU_OVERHEAD
    limits = Limits(layout.micro_batch_size, layout.max_tokens, overhead, job.collate.pads)
    shares = lay_out(token_lengths(job.dataset.train, examples), job.ranks.world_size, limits)
    mine: list[Indices | None] = [examples[positions] for positions in shares[job.ranks.rank]]
    if job.strategy.even_micro_batches:
        mine += [None] * (max(map(len, shares)) - len(mine))
    return mine


def _learning_rate(job: Job, state: TrainState) -> float:
    """The schedule's, as far as no plateau has cut it."""
    train = job.recipe.train
    rate = learning_rate(train, state.step, Horizon(job.total, job.warmup, job.per_epoch))
    return rate * max(state.plateau_scale, train.decay.floor)


def _unfreeze(job: Job, step: int) -> None:
    """Let one more layer learn, from the top, where it is time for it."""
    every = job.recipe.train.unfreeze_every
    if every is not None:
        steps = job.per_epoch if every == "epoch" else every
        job.strategy.unfreeze(max(0, max(depths(job.built.model).values()) - step // steps))


def _loss_sum(job: Job, batch: MicroBatch) -> torch.Tensor:
    """The loss of a micro-batch, with R-Drop from two passes."""
    output = job.strategy.forward(batch.inputs)
    alpha = job.recipe.train.r_drop
    if not alpha:
        return job.task.loss_sum(output, batch)
    return job.task.agreeing_loss_sum(output, job.strategy.forward(batch.inputs), batch, alpha)


def _optimize(
    job: Job, step: int, examples: Indices, lr: float, samples: TextIO | None
) -> tuple[torch.Tensor, float, StepOutcome]:
    """Do one optimizer step; (this rank's part of the loss, its real tokens, what the step did)."""
    seed = _dropout_seed(job.recipe.seed, step, job.ranks.rank)
    _seed_dropout(job.ranks.device, seed)
    job.strategy.train_mode(True)
    epoch = step // job.per_epoch
    # Where nothing is labelled, the loss is 0.
    units = job.task.units(job.dataset.train, examples, epoch) or 1.0
    parts = micro_batches(job, examples)
    if samples is not None:
        ids = [int(example) for part in parts if part is not None for example in part]
        samples.write(json.dumps({"step": step + 1, "examples": ids}) + "\n")
        samples.flush()
    if job.graphs is not None and len(parts) == 1 and parts[0] is not None:
        done = job.graphs.step(job.dataset.train, parts[0], epoch, units, lr)
        if done is not None:
            return done.loss, float(done.tokens), StepOutcome(done.grad_norm)
        _seed_dropout(job.ranks.device, seed)
    loss, tokens = _accumulate(job, epoch, parts, units)
    return loss, tokens, job.strategy.step(lr)


def _accumulate(
    job: Job, epoch: int, parts: list[Indices | None], units: float
) -> tuple[torch.Tensor, float]:
    """Add up the gradient of the mean loss over the global batch; (this rank's part of the loss, real tokens)."""
    split = job.dataset.train
    loss = torch.zeros((), device=job.ranks.device)
    tokens = 0
    for index, part in enumerate(parts):
        batch = job.collate(split, np.zeros(1, np.int64) if part is None else part, epoch)
        counts = 0.0 if part is None else 1.0
        last = index == len(parts) - 1
        loss_sum = _loss_sum(job, batch) * counts
        job.strategy.backward(loss_sum, units, last=last and job.adversary is None)
        if job.adversary is not None:
            with job.adversary.moved(batch):
                job.strategy.backward(_loss_sum(job, batch) * counts, units, last=last)
        if part is not None:
            loss += loss_sum.detach() / units
            tokens += batch.tokens
    return loss, float(tokens)


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """Dropout is a function of (seed, step, rank): a resumed run needs no saved generator."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _seed_dropout(device: torch.device, seed: int) -> None:
    """As torch.manual_seed, which also writes down a traceback for each kind of device that isn't there."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)


def _report(job: Job, state: TrainState, speed: Speed, result: StepResult, seconds: float) -> None:
    epoch = result.step / job.per_epoch
    recent = speed.step_seconds[-50:]
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
            "perf/step_s": seconds,
        },
    )
    job.events.emit(
        "step",
        step=result.step,
        total=job.total,
        epoch=epoch,
        loss=result.loss,
        lr=result.lr,
        examples_per_s=result.examples / seconds,
        tokens_per_s=result.tokens / seconds,
        eta_s=(job.total - result.step) * sum(recent) / len(recent),
    )
    if not math.isfinite(result.loss) or not (math.isfinite(result.grad_norm) or result.skipped):
        raise RunFailed(
            "diverged",
            f"loss {result.loss} and gradient norm {result.grad_norm} at step {result.step}",
            "lower train.lr, lengthen train.warmup or set train.clip",
            result.step,
        )


def _evaluate_and_keep_best(job: Job, state: TrainState) -> tuple[TrainState, bool]:
    """Evaluate on the validation split; keep the model where it is the best so far. (state, whether interrupted)"""
    assert job.dataset.validation is not None
    started, started_cpu = time.perf_counter(), time.process_time()
    try:
        metrics = evaluate(job, job.dataset.validation)
    except Interrupted:
        return state, True
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    _try_probes(job, state)
    metric = job.task.spec.chosen_metric
    value = metrics.get(metric)
    if value is None:
        raise RunFailed("recipe", f"eval.metric={metric} is not computed", "there are " + ", ".join(metrics))
    sparse_enough = job.sparsity is None or job.sparsity.reached(state.step)
    improved = sparse_enough and _better(job, metric, value, state.best_value)
    if improved:
        state = replace(state, best_value=value, best_step=state.step)
        _keep_model(job)
    state = _reduce_on_plateau(job, replace(state, evaluated_step=state.step), metric, value)
    state = _count_patience(job, state, metrics)
    job.record.eval(
        state.step,
        "validation",
        {"epoch": state.step / job.per_epoch, **{f"eval/{name}": number for name, number in metrics.items()}},
    )
    job.events.emit(
        "eval",
        step=state.step,
        split="validation",
        metrics=metrics,
        best=improved,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )
    return state, job.ranks.any(job.stop())


def _try_probes(job: Job, state: TrainState) -> None:
    if job.probes is None:
        return
    metrics = try_probes(job)
    line = {"epoch": state.step / job.per_epoch, **{f"eval/{name}": value for name, value in metrics.items()}}
    job.record.eval(state.step, "probes", line)
    job.events.emit("probes", step=state.step, probes=job.probes.told(metrics))


def _keep_model(job: Job) -> None:
    weights = job.strategy.full_state()
    if weights is not None:
        job.built.base.config.update(job.task.remembered())
        save_model(job.built, weights, job.tokenizer, job.run.model)
    job.ranks.barrier()


def _reduce_on_plateau(job: Job, state: TrainState, metric: str, value: float) -> TrainState:
    """Cut the learning rate where the metric has not improved for train.decay.patience evaluations."""
    decay = job.recipe.train.decay
    if job.recipe.train.schedule != "plateau":
        return state
    if _better(job, metric, value, state.plateau_value, decay.min_delta):
        return replace(state, plateau_value=value, plateau_unimproved=0)
    unimproved = state.plateau_unimproved + 1
    if unimproved < decay.patience:
        return replace(state, plateau_unimproved=unimproved)
    return replace(state, plateau_scale=state.plateau_scale * decay.factor, plateau_unimproved=0)


def _count_patience(job: Job, state: TrainState, metrics: dict[str, float]) -> TrainState:
    rule = job.recipe.train.early_stopping
    if rule.patience is None:
        return state
    metric = rule.metric or job.task.spec.chosen_metric
    value = metrics.get(metric)
    if value is None:
        raise RunFailed(
            "recipe",
            f"train.early_stopping.metric={metric} is not computed",
            "there are " + ", ".join(metrics),
        )
    if _better(job, metric, value, state.stopping_value, rule.min_delta):
        return replace(state, stopping_value=value, unimproved=0)
    return replace(state, unimproved=state.unimproved + 1)


def _out_of_patience(job: Job, state: TrainState) -> bool:
    patience = job.recipe.train.early_stopping.patience
    return patience is not None and state.unimproved >= patience


def _better(job: Job, metric: str, value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """NaN is never better than a number, and any number is better than none."""
    if best is None or math.isnan(best):
        return True
    if job.task.spec.higher_is_better(metric):
        return value > best + min_delta
    return value < best - min_delta


def _evaluation_due(job: Job, state: TrainState) -> bool:
    if state.step == 0 or state.evaluated_step == state.step:
        return False
    return state.step >= job.total or _due(job.recipe.eval.every, state.step, job.per_epoch)


def _pauses(job: Job, state: TrainState) -> bool:
    """Whether something is to be done before the next step that needs the results of all steps."""
    saving = _due(job.recipe.checkpoint.every, state.step, job.per_epoch)
    return state.step >= job.total or saving or _evaluation_due(job, state)


def _due(every: Every | None, step: int, per_epoch: int) -> bool:
    if every is None or step == 0:
        return False
    return step % (per_epoch if every == "epoch" else every) == 0


def _save(job: Job, state: TrainState) -> None:
    if state.step == 0:
        return
    job.record.sync()
    stall = job.checkpoints.save(job.strategy, state)
    job.events.emit("checkpoint", step=state.step, stall_s=stall)


def _samples_file(job: Job, start: int) -> TextIO | None:
    """This rank's samples file without the lines of steps that are going to be done again."""
    if not job.recipe.debug.samples:
        return None
    job.run.samples.mkdir(exist_ok=True)
    file = job.run.rank_samples(job.ranks.rank).open("a+", encoding="utf-8")
    file.seek(0)
    done = [file.readline() for _ in range(start)]
    file.truncate(len("".join(done)))
    return file
