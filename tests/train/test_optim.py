"""Schedules against those of transformers, and what decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from launcher.recipe import Recipe
from launcher.techniques import Train
from launcher.train.optim import learning_rate, make_optimizer

TOTAL = 40
THEIRS: dict[str, Callable[..., Any]] = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, _: transformers.get_constant_schedule_with_warmup(
        optimizer, warmup
    ),
}


@pytest.mark.parametrize("warmup", [0, 1, 7, TOTAL])
@pytest.mark.parametrize("schedule", THEIRS)
def test_schedules_are_those_of_transformers(schedule: str, warmup: int) -> None:
    train = Train.model_validate({"schedule": schedule, "lr": 3e-4})
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    scheduler = THEIRS[schedule](optimizer, warmup, TOTAL)
    for step in range(TOTAL):
        assert learning_rate(train, step, TOTAL, warmup) == pytest.approx(
            scheduler.get_last_lr()[0], abs=1e-12
        )
        optimizer.step()
        scheduler.step()
    after = 3e-4 if schedule == "constant" else 0.0
    assert [learning_rate(train, TOTAL + more, TOTAL, warmup) for more in range(3)] == [after] * 3


def _recipe(**train: Any) -> Recipe:
    return Recipe.model_validate({"task": "classification", "train": train})


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    model[0].weight.requires_grad = False
    wanted = _recipe(weight_decay=0.1, lr=1e-3, beta1=0.8, beta2=0.95, epsilon=1e-6)
    decayed, kept = make_optimizer(wanted, model).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 4)]
    assert [tuple(p.shape) for p in kept["params"]] == [(3,), (3,), (3,)]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert (decayed["lr"], decayed["betas"], decayed["eps"]) == (1e-3, (0.8, 0.95), 1e-6)


def test_a_step_is_that_of_plain_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(4, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [theirs.weight], "weight_decay": 0.01},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    optimizers = [make_optimizer(_recipe(lr=1e-2), ours), torch.optim.AdamW(groups, lr=1e-2)]
    for _ in range(5):
        inputs = torch.randn(6, 4)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
