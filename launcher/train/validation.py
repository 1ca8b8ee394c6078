"""What happens between two steps where an evaluation is due: metrics, the best model, plateaus, patience, probes."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from launcher.errors import RunFailed
from launcher.runs.best_model import step_of
from launcher.train.inputs import longest_input
from launcher.train.job import Job
from launcher.train.model.build import save_model
from launcher.train.step.checkpoints import TrainState
from launcher.train.tasks.base import Scores
from launcher.train.tokens.encoder import length_of
from launcher.train.use.evaluation import EvaluationStopped, Evaluator
from launcher.train.use.examination import examine, keep


def evaluate_and_keep_best(job: Job, state: TrainState) -> tuple[TrainState, bool]:
    """Evaluate on the validation split; keep the model where it is the best so far.

    Returns the state, and whether the run has been asked to stop meanwhile.
    """
    assert job.dataset.validation is not None
    started, started_cpu = time.perf_counter(), time.process_time()
    try:
        metrics, scores = _evaluator(job).validate(
            job.dataset.validation, partial(job.events.phase, "evaluating"), job.stop
        )
    except EvaluationStopped:
        return state, True
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    try_probes(job, state)
    metric = job.task.spec.chosen_metric
    value = metrics.get(metric)
    if value is None:
        raise RunFailed("recipe", f"eval.metric={metric} is not computed", "there are " + ", ".join(metrics))
    sparse_enough = job.sparsity is None or job.sparsity.reached(state.step)
    improved = sparse_enough and _better(job, metric, value, state.best_value)
    if improved:
        state = replace(state, best_value=value, best_step=state.step)
        _keep_model(job, state.step)
        if scores is not None:
            _keep_examination(job, state.step, scores, metrics)
    state = _reduce_on_plateau(job, replace(state, evaluated_step=state.step), metric, value)
    state = _count_patience(job, state, metrics)
    job.record.eval(
        state.step,
        "validation",
        {
            "epoch": state.step / job.steps.per_epoch,
            **{f"eval/{name}": number for name, number in metrics.items()},
        },
    )
    tell_no_number(job, "validation", state.step, metrics)
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


def tell_no_number(job: Job, split: str, step: int, metrics: Mapping[str, float]) -> None:
    """Say where the loss of an evaluation is no number: weights that aren't are never evaluated."""
    if not math.isfinite(metrics.get("loss", 0.0)):
        text = f"the loss of the {split} data at step {step} is no number, and all weights are: look at these data"
        own = f", and at {job.run.loss}" if job.run.loss.exists() else ""
        job.events.notice(f"{text}{own}", "warning")


def _keep_examination(job: Job, step: int, scores: Scores, metrics: dict[str, float]) -> None:
    """Write what there is to see in the predictions of the model that is the best now."""
    dataset = job.dataset
    assert dataset.validation is not None
    names = dataset.label_names
    found = examine(job.task, job.tokenizer, scores, dataset.validation, "validation", metrics, names, step)
    keep(job.run.evaluated, found)


def try_probes(job: Job, state: TrainState) -> None:
    """Record how the model answers the recipe's cloze probes, where it has any."""
    if job.probes is None:
        return
    job.strategy.train_mode(False)
    metrics = job.probes.measure(job.strategy.forward, job.collate)
    line = {
        "epoch": state.step / job.steps.per_epoch,
        **{f"eval/{name}": value for name, value in metrics.items()},
    }
    job.record.eval(state.step, "probes", line)
    job.events.emit("probes", step=state.step, probes=job.probes.told(metrics))


def _evaluator(job: Job) -> Evaluator:
    job.strategy.train_mode(False)
    even = job.strategy.even_micro_batches
    config = job.built.base.config
    return Evaluator(job.strategy.forward, job.task, job.collate, job.ranks, config, even)


def with_best_model(job: Job, state: TrainState) -> TrainState:
    """Make sure that model/ is the best of the state that the run goes on from.

    Where it isn't, the one before it is put back, or it is written again; where neither can be, the best from now on
    is kept, and that is said; a run that has come to its end evaluates once more for that.
    """
    lost = job.ranks.broadcast(_lost_model(job, state) if job.ranks.is_main else None)
    if lost is None:
        return state
    if state.step == state.best_step:
        with job.strategy.averaged():
            _keep_model(job, state.step)
        job.events.notice(f"{lost}: it is written again", "warning")
        return state
    job.events.notice(f"{lost} and can't be made again: the best from now on is kept", "warning")
    return replace(state, best_value=None, best_step=None, evaluated_step=-1)


def _lost_model(job: Job, state: TrainState) -> str | None:
    """What is wrong with model/, once the model before it is put back where that is the right one."""
    run, best = job.run, state.best_step
    if best is None or _is_model_of(run.model, best, state.step):
        return None
    if step_of(run.former_model) == best:
        shutil.rmtree(run.model, ignore_errors=True)
        run.former_model.rename(run.model)
        return None
    found = step_of(run.model)
    return f"the best model, of step {best}, is missing" + (f" (model/ is of step {found})" if found else "")


def _is_model_of(model: Path, best: int, step: int) -> bool:
    """Whether a model is that of the best step, or of one after the checkpoint's, which is done again."""
    if not (model / "config.json").is_file():
        return False
    found = step_of(model)  # earlier versions of launcher didn't write it
    return found is None or found == best or found > step


def _keep_model(job: Job, step: int) -> None:
    weights = job.strategy.full_state()
    if weights is not None:
        job.built.base.config.update(job.task.remembered())
        config, longest = (
            job.built.base.config,
            length_of(job.recipe, job.tokenizer, longest_input(job.recipe)),
        )
        further = job.task.further_files(config, longest)
        shared = job.recipe.shared
        save_model(job.built, weights, job.tokenizer, job.run.model, step, further, shared=shared)
    job.ranks.barrier()


def _reduce_on_plateau(job: Job, state: TrainState, metric: str, value: float) -> TrainState:
    """Cut the learning rate where the metric has not improved for train.decay.patience evaluations."""
    decay = job.recipe.train.decay
    if job.recipe.train.schedule != "plateau":
        return state
    if _improves(job, metric, value, state.plateau_value, decay.min_delta):
        return replace(state, plateau_value=value, plateau_unimproved=0)
    unimproved = state.plateau_unimproved + 1
    if unimproved < _allowed(decay.patience, state.plateau_value):
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
    if _improves(job, metric, value, state.stopping_value, rule.min_delta):
        return replace(state, stopping_value=value, unimproved=0)
    return replace(state, unimproved=state.unimproved + 1)


def out_of_patience(job: Job, state: TrainState) -> bool:
    """Whether early stopping ends the training."""
    patience = job.recipe.train.early_stopping.patience
    return patience is not None and state.unimproved >= _allowed(patience, state.stopping_value)


def _allowed(patience: int, best: float | None) -> int:
    """Evaluations without improvement that are waited for: the first one is none, where its metric is no number."""
    return patience + (best is None)


def _improves(job: Job, metric: str, value: float, best: float | None, min_delta: float) -> bool:
    """As `_better`, but for NaN, which is waited for as for any other value that is no better."""
    return not math.isnan(value) and _better(job, metric, value, best, min_delta)


def _better(job: Job, metric: str, value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """NaN is never better than a number, and any number is better than none."""
    if best is None or math.isnan(best):
        return True
    if job.task.spec.higher_is_better(metric):
        return value > best + min_delta
    return value < best - min_delta
