"""Schedules against those of transformers and torch; a plateau cuts the rate, also across a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support.training import Fault, RankServer, make_run, metrics, recipe

from launcher.recipe.train import Train
from launcher.train.step.schedule import StepCounts, learning_rate

TOTAL = 40
PEAK = 3e-4
THEIRS: dict[str, Callable[..., Any]] = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, _: transformers.get_constant_schedule_with_warmup(
        optimizer, warmup
    ),
    "inverse_sqrt": lambda optimizer, warmup, _: transformers.get_inverse_sqrt_schedule(optimizer, warmup),
    "polynomial": lambda optimizer, warmup, total: transformers.get_polynomial_decay_schedule_with_warmup(
        optimizer, warmup, total, lr_end=0.1 * PEAK, power=3.0
    ),
}
DECAY = {"polynomial": {"power": 3.0, "floor": 0.1}}


def _train(schedule: str, **decay: Any) -> Train:
    return Train.model_validate({"schedule": schedule, "lr": PEAK, "decay": decay})


def _rates(train: Train, steps: int, warmup: int = 0, per_epoch: int = 10) -> list[float]:
    counts = StepCounts(per_epoch, TOTAL, warmup)
    return [learning_rate(train, step, counts) / PEAK for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("schedule", THEIRS)
def test_schedules_are_those_of_transformers(schedule: str, warmup: int) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = THEIRS[schedule](optimizer, warmup, TOTAL)
    for rate in _rates(_train(schedule, **DECAY.get(schedule, {})), TOTAL, warmup):
        assert rate * PEAK == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("schedule", "end"), [("linear", 0.0), ("cosine", 0.0), ("constant", 1.0)])
def test_after_the_last_step_the_rate_stays(schedule: str, end: float) -> None:
    assert _rates(_train(schedule), TOTAL + 3)[TOTAL:] == [end] * 3


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_decay_ends_at_the_floor(schedule: str) -> None:
    found = _rates(_train(schedule, floor=0.25), TOTAL + 1)
    assert found[0] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.25)
    assert min(found) == pytest.approx(0.25)


def test_steps_are_taken_in_epochs_or_in_steps() -> None:
    assert _rates(_train("step"), 21)[::5] == pytest.approx([1, 1, 0.5, 0.5, 0.25])
    assert _rates(_train("step", every=5, factor=0.1), 11)[::5] == pytest.approx([1, 0.1, 0.01])
    assert _rates(_train("step", every=5), 8, warmup=2) == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 0.5])


def test_exponential_decay_is_smooth() -> None:
    assert _rates(_train("exponential"), 21)[::5] == pytest.approx([1, 0.5**0.5, 0.5, 0.5**1.5, 0.25])
    assert _rates(_train("exponential", every=1, factor=0.9, floor=0.7), 6) == pytest.approx(
        [1, 0.9, 0.81, 0.729, 0.7, 0.7]
    )


def test_a_plateau_cuts_the_rate_and_a_stop_does_not_matter(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    """Nothing improves by min_delta: after the first evaluation, each two more cut the rate, down to the floor."""
    decay = {"patience": 2, "factor": 0.5, "floor": 0.3, "min_delta": 0.9}
    train = {"max_steps": 14, "lr": 1e-3, "warmup": 0, "schedule": "plateau", "decay": decay}
    wanted = recipe(tiny_data, train=train, eval={"every": 2}, checkpoint={"every": None})
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("term", "step", 5)) == [0]
    ranks.complete(run, number=2)
    rates = [row["train/lr"] / 1e-3 for row in metrics(run)]
    assert rates == pytest.approx([1] * 6 + [0.5] * 4 + [0.3] * 4)
