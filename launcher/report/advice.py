"""What the curves of a run say about its settings: findings, each with its evidence and the keys to try.

The thresholds are rules of thumb, stated beside each finding; they are tested on trainings that have the fault.
"""

from __future__ import annotations

import functools
import math
import statistics
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher import tasks
from launcher.errors import UserError
from launcher.figures import quantity
from launcher.recipe.recipe import Recipe
from launcher.runs.columns import Columns, read_columns
from launcher.runs.directory import RunDir
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.results import Result

WINDOW = 0.1
"""Share of the steps at either end that a trend is read from."""
LEAST_STEPS = 10
"""Fewer steps tell nothing."""


@dataclass(frozen=True)
class Try:
    """A key of the recipe and the value to try."""

    key: str
    value: Any
    now: Any


@dataclass(frozen=True)
class Advice:
    """Something that the curves show."""

    name: str
    message: str
    evidence: dict[str, float]
    keys: tuple[Try, ...]


@dataclass(frozen=True)
class History:
    """What was recorded of a run."""

    steps: Sequence[int]
    losses: Sequence[float]
    """Training loss of each step; NaN where it was not a number."""
    norms: Sequence[float]
    evaluations: list[dict[str, float]]
    """Step and metrics of each evaluation on the validation data."""
    epochs: float
    recipe: Recipe
    result: Result | None
    metric: str | None
    doubt: str | None
    """What is missing, in a sentence."""

    @property
    def is_whole(self) -> bool:
        """Whether the training has come to its end, so that its curves show what all of it has reached."""
        return self.result is not None and self.result.status == "completed"


def read_history(run: RunDir) -> History:
    """What a run has recorded. Raises UserError where it has done too few steps to say anything."""
    return history_of(run, read_columns(run))


def history_of(run: RunDir, columns: Columns) -> History:
    """The same from what was read of metrics.jsonl."""
    start = bisect_right(columns.steps, 0)
    losses = columns.figure("train/loss")[start:]
    known = _known(losses)
    recipe = planned_recipe(run)
    result = run.read_result()
    if len(known) < LEAST_STEPS and not _diverged(result):
        is_over = result is not None and result.status == "completed"
        message = f"has recorded {quantity(len(known), 'step')}, and {LEAST_STEPS} are needed to see a trend"
        remedy = "train longer" if is_over else f"launch status {run.run_id} says how far it is"
        raise UserError(message, where=run.run_id, remedy=remedy)
    evaluations = [
        {"step": row.step} | {key: value for key, value in row.metrics().items() if value is not None}
        for row in columns.evaluations
        if row.split == "validation"
    ]
    best = None if result is None else result.best
    return History(
        steps=columns.steps[start:],
        losses=losses,
        norms=columns.figure("train/grad_norm")[start:],
        evaluations=evaluations,
        epochs=next(iter(_known(columns.epochs[start:][-1:])), 0.0),
        recipe=recipe,
        result=result,
        metric=None if best is None else best.metric,
        doubt=columns.doubt,
    )


def diagnose(curves: History) -> list[Advice]:
    """Every finding, the gravest first; none where nothing stands out. Each key is advised once, by the gravest."""
    if _diverged(curves.result):
        return _without_repetition([_divergence(curves)])
    of_a_whole_training = (_undertrained, _rate_too_low, _underfitting) if curves.is_whole else ()
    checks = (
        _unstable,
        _collapsed,
        _same_for_everything,
        _overfitting,
        *of_a_whole_training,
        _always_clipped,
        _stopped_early,
    )
    return _without_repetition([finding for check in checks for finding in check(curves)])


def _without_repetition(findings: Sequence[Advice]) -> list[Advice]:
    """The findings without what is set already and what a graver one advises otherwise."""
    advised: set[str] = set()
    kept = []
    for finding in findings:
        keys = tuple(each for each in finding.keys if each.value != each.now and each.key not in advised)
        advised |= {each.key for each in keys}
        kept.append(replace(finding, keys=keys))
    return kept


def _diverged(result: Result | None) -> bool:
    return result is not None and result.error is not None and result.error.kind == "diverged"


def _divergence(curves: History) -> Advice:
    lr = _lr(curves)
    assert curves.result is not None
    assert curves.result.error is not None
    return Advice(
        "diverged",
        "the loss or its gradient was no longer a number: the rate is too high, or warm-up too short",
        {"step": curves.result.error.step or 0, "train.lr": lr},
        (_try(curves, "train.lr", _rounded(lr / 10)), _warmup(curves), *_at_most(curves, "train.clip", 1.0)),
    )


def _unstable(curves: History) -> Iterator[Advice]:
    """The loss rises above where it started, or jumps back up by half of all that it had gained."""
    smooth = _smooth(_known(curves.losses))
    start, low = smooth[0], math.inf
    jump = 0.0
    for value in smooth:
        low = min(low, value)
        jump = max(jump, value - low)
    gained = start - min(smooth)
    if jump > 0.5 * max(gained, 0.1 * start) and jump > 0.1 * start:
        lr = _lr(curves)
        yield Advice(
            "rate_too_high" if smooth[-1] >= 0.95 * start else "unstable",
            "the training loss jumps up again after it had fallen"
            + (", and ends no lower than it began" if smooth[-1] >= 0.95 * start else ""),
            {"loss_at_start": start, "lowest": min(smooth), "jump": jump, "loss_at_end": smooth[-1]},
            (_try(curves, "train.lr", _rounded(lr / 3)), _warmup(curves)),
        )


def _collapsed(curves: History) -> Iterator[Advice]:
    """One class is always predicted: a correlation with the labels of exactly zero while accuracy is not."""
    if not curves.evaluations:
        return
    last = curves.evaluations[-1]
    if last.get("mcc") == 0.0 and last.get("macro_f1", 1.0) < last.get("accuracy", 0.0):
        yield Advice(
            "class_collapse",
            "the model predicts the same class for everything",
            {name: last[name] for name in ("accuracy", "macro_f1", "mcc")},
            (
                _try(curves, "train.loss.class_weights", "balanced"),
                _try(curves, "train.lr", _rounded(_lr(curves) / 3)),
                *_fairer_metric(curves),
            ),
        )


def _same_for_everything(curves: History) -> Iterator[Advice]:
    """The metric that chooses is no number after the last evaluation: a correlation where all predictions, or labels, are one."""
    if curves.metric is None or not curves.evaluations:
        return
    last = curves.evaluations[-1]
    if "loss" in last and curves.metric not in last:
        yield Advice(
            "no_metric",
            f"{curves.metric} is no number: the model predicts the same for everything, or all validation labels are one",
            {"validation_loss": last["loss"], "at_step": last["step"]},
            (
                _longer(curves, 2 * curves.recipe.train.epochs),
                _try(curves, "train.lr", _rounded(_lr(curves) / 3)),
            ),
        )


def _fairer_metric(curves: History) -> Iterator[Try]:
    """A metric that shows a collapse, where the model isn't chosen by such a one already."""
    fair = tasks.named(curves.recipe.task).fair_metrics
    if fair and curves.metric not in fair:
        yield _try(curves, "eval.metric", fair[0])


def _overfitting(curves: History) -> Iterator[Advice]:
    """The loss on the validation data rises by a tenth above its lowest while that on the training data falls."""
    known = [row for row in curves.evaluations if row.get("loss") is not None]
    if len(known) < 2:
        return
    lowest = min(known, key=lambda row: row["loss"])
    last, end = known[-1], _end(curves)
    if last["loss"] > 1.1 * lowest["loss"] and end < lowest["loss"]:
        yield Advice(
            "overfitting",
            "the loss on the validation data rises while that on the training data falls",
            {
                "lowest_validation_loss": lowest["loss"],
                "at_step": lowest["step"],
                "last_validation_loss": last["loss"],
                "training_loss": end,
            },
            (
                *_ending_at(curves, round(lowest["step"])),
                *_at_least(curves, "model.dropout.hidden", 0.2),
                *_at_least(curves, "train.weight_decay", 0.1),
                *_at_most(curves, "train.early_stopping.patience", 2),
            ),
        )


def _undertrained(curves: History) -> Iterator[Advice]:
    """The metric is best at the last evaluation, and the last tenth of the steps still lowered the loss by a twentieth."""
    losses = _known(curves.losses)
    size = max(3, round(WINDOW * len(losses)))
    if len(losses) < 2 * size:
        return
    before, end = statistics.fmean(losses[-2 * size : -size]), statistics.fmean(losses[-size:])
    if end < 0.95 * before and _best_is_last(curves) and not any(_overfitting(curves)):
        epochs = curves.recipe.train.epochs
        yield Advice(
            "undertrained",
            "the training loss was still falling when the training ended",
            {"loss_before": before, "loss_at_end": end, "steps": curves.steps[-1]},
            (_longer(curves, 2 * epochs), _try(curves, "train.lr", _rounded(2 * _lr(curves)))),
        )


def _rate_too_low(curves: History) -> Iterator[Advice]:
    """All the training has lowered the loss by less than a twentieth, smoothly."""
    smooth = _smooth(_known(curves.losses))
    gained = (smooth[0] - smooth[-1]) / smooth[0] if smooth[0] else 0.0
    if abs(gained) < 0.05 and not list(_unstable(curves)) and smooth[0] > 0.1:
        lr = _lr(curves)
        yield Advice(
            "rate_too_low",
            "the training loss hardly moved",
            {"loss_at_start": smooth[0], "loss_at_end": smooth[-1], "train.lr": lr},
            (_try(curves, "train.lr", _rounded(10 * lr)), _try(curves, "tuning", "full")),
        )


def _underfitting(curves: History) -> Iterator[Advice]:
    """The loss has settled at more than half of what guessing costs, on the training data too."""
    smooth = _smooth(_known(curves.losses))
    end, half = smooth[-1], smooth[len(smooth) // 2]
    settled = half - end < 0.05 * half
    fell = smooth[0] - end >= 0.05 * smooth[0]
    if settled and fell and end > 0.5 * smooth[0] and not list(_unstable(curves)):
        yield Advice(
            "underfitting",
            "the training loss has settled at a high level: the model can't fit even the training data",
            {"loss_at_start": smooth[0], "loss_half_way": half, "loss_at_end": end},
            (
                _try(curves, "train.lr", _rounded(3 * _lr(curves))),
                *_at_most(curves, "model.dropout.hidden", 0.0),
                *(
                    [_try(curves, "lora.r", 2 * curves.recipe.lora.r)]
                    if curves.recipe.tuning == "lora"
                    else []
                ),
            ),
        )


def _always_clipped(curves: History) -> Iterator[Advice]:
    """The gradient was longer than train.clip in nine of ten steps: the clip, not train.lr, sets the step."""
    clip = curves.recipe.train.clip
    norms = _known(curves.norms)
    if clip is None or not norms:
        return
    share = sum(norm > clip for norm in norms) / len(norms)
    if share > 0.9:
        middle = statistics.median(norms)
        yield Advice(
            "always_clipped",
            "the gradient was clipped in nearly every step",
            {"share_of_steps": share, "median_norm": middle, "train.clip": clip},
            (
                _try(curves, "train.clip", _rounded(2 * middle)),
                _try(curves, "train.lr", _rounded(_lr(curves) / 2)),
            ),
        )


def _stopped_early(curves: History) -> Iterator[Advice]:
    """Early stopping ended the training before its last step."""
    patience = curves.recipe.train.early_stopping.patience
    planned = curves.recipe.train.epochs
    limited = curves.recipe.train.max_steps
    total = limited or (curves.steps[-1] / curves.epochs * planned if curves.epochs else None)
    result = curves.result
    if result is None or result.status != "completed":
        return
    if patience is not None and total is not None and curves.steps[-1] < 0.99 * total:
        best = 0 if result.best is None else result.best.step
        yield Advice(
            "early_stopped",
            "early stopping ended the training: nothing is wrong with that",
            {"steps": curves.steps[-1], "planned": round(total), "best_at_step": best},
            (_try(curves, "train.early_stopping.patience", patience + 2),),
        )


# Reading curves


def _known(values: Iterable[float]) -> array[float]:
    return array("d", (value for value in values if value == value))


def _smooth(values: Sequence[float]) -> list[float]:
    """Means over neighbouring windows, ten or so in all."""
    size = max(3, round(WINDOW * len(values)))
    return [statistics.fmean(values[start : start + size]) for start in range(0, len(values), size)]


def _end(curves: History) -> float:
    losses = _known(curves.losses)
    return statistics.fmean(losses[-max(3, round(WINDOW * len(losses))) :])


def _best_is_last(curves: History) -> bool:
    """Whether the last evaluation is better than any before."""
    if curves.metric is None or not curves.evaluations:
        return True
    values = [row[curves.metric] for row in curves.evaluations if row.get(curves.metric) is not None]
    if not values:  # a correlation is no number as long as all predictions are the same
        return True
    best = max(values) if tasks.named(curves.recipe.task).higher_is_better(curves.metric) else min(values)
    return values.index(best) == len(values) - 1


# Advice


def _lr(curves: History) -> float:
    return curves.recipe.train.lr


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _try(curves: History, key: str, value: Any) -> Try:
    """Try `value`, which the recipe has otherwise at the moment."""
    return Try(key, value, functools.reduce(getattr, key.split("."), curves.recipe))


def _at_least(curves: History, key: str, value: float) -> Iterator[Try]:
    """Try `value` where less is set, or nothing."""
    advice = _try(curves, key, value)
    if advice.now is None or advice.now < value:
        yield advice


def _at_most(curves: History, key: str, value: float) -> Iterator[Try]:
    """Try `value` where more is set, or nothing."""
    advice = _try(curves, key, value)
    if advice.now is None or advice.now > value:
        yield advice


def _ending_at(curves: History, step: int) -> Iterator[Try]:
    """A training that ends with `step`, by the key that sets its length."""
    epochs = float(f"{curves.epochs * step / curves.steps[-1]:.2g}")
    if curves.recipe.train.max_steps and step > 0:
        yield _try(curves, "train.max_steps", step)
    elif epochs > 0:
        yield _try(curves, "train.epochs", epochs)


def _warmup(curves: History) -> Try:
    warmup = curves.recipe.train.warmup
    more = 2 * warmup if isinstance(warmup, int) and warmup else 0.1
    return _try(curves, "train.warmup", max(more, 2 * warmup) if isinstance(warmup, float) else more)


def _longer(curves: History, epochs: float) -> Try:
    limited = curves.recipe.train.max_steps
    return _try(curves, "train.max_steps", 2 * limited) if limited else _try(curves, "train.epochs", epochs)
