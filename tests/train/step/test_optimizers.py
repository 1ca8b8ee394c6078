"""Each optimizer is its library's with the recipe's settings, and each group of parameters learns at its own rate."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_optimizer import Lamb
from support.models import small_model
from support.training import RankServer, losses, make_run, recipe
from torch import optim

from launcher.errors import RunFailed
from launcher.planning.estimate import Setup, optimizer_bytes
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.compat.fused_optimizers import step_if_finite
from launcher.train.model.layer_depth import depths
from launcher.train.step.optimizers import make_optimizer, parameter_groups, set_learning_rate

THEIRS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "adamw": lambda groups: optim.AdamW(groups, lr=1e-2, betas=(0.8, 0.95), eps=1e-6),
    "adam": lambda groups: optim.Adam(groups, lr=1e-2, betas=(0.8, 0.95), eps=1e-6),
    "sgd": lambda groups: optim.SGD(groups, lr=1e-2),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=1e-2, alpha=0.95, eps=1e-6),
    "adafactor": lambda groups: optim.Adafactor(groups, lr=1e-2),
    "lamb": lambda groups: Lamb(groups, lr=1e-2, betas=(0.8, 0.95), eps=1e-6),
}
MOMENTUM: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda groups: optim.SGD(groups, lr=1e-2, momentum=0.9),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=1e-2, alpha=0.95, eps=1e-6, momentum=0.9),
}
FAMILIES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert")


def _recipe(**changes: Any) -> Recipe:
    train = {"lr": 1e-2, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6, "weight_decay": 0.1}
    return Recipe.model_validate(
        {"task": "classification", **changes, "train": {**train, **changes.get("train", {})}}
    )


def _after_steps(make: Callable[[torch.nn.Module], optim.Optimizer]) -> list[torch.Tensor]:
    """Weights of a linear layer after five steps on the same data."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = make(model)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(6, 4)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def _groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    weight, bias = model.parameters()
    return [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]


@pytest.mark.parametrize("name", THEIRS)
def test_a_step_is_that_of_the_library(name: str) -> None:
    ours = _after_steps(lambda model: make_optimizer(_recipe(train={"optimizer": name}), model))
    theirs = _after_steps(lambda model: THEIRS[name](_groups(model)))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", MOMENTUM)
def test_momentum_is_that_of_the_library(name: str) -> None:
    wanted = _recipe(train={"optimizer": name, "momentum": 0.9})
    ours = _after_steps(lambda model: make_optimizer(wanted, model))
    theirs = _after_steps(lambda model: MOMENTUM[name](_groups(model)))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", THEIRS)
def test_a_resumed_optimizer_goes_on_bitwise(name: str) -> None:
    def train(stop: int | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3)
        wanted = _recipe(train={"optimizer": name, "momentum": 0.9 if name in MOMENTUM else 0.0})
        optimizer = make_optimizer(wanted, model)
        for step in range(4):
            if step == stop:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = make_optimizer(wanted, model)
                optimizer.load_state_dict(state)
            set_learning_rate(optimizer.param_groups, 1e-2 / (step + 1))
            model(torch.randn(6, 4)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [parameter.detach() for parameter in model.parameters()]

    assert all(torch.equal(*pair) for pair in zip(train(None), train(2), strict=True))


@pytest.mark.parametrize(
    ("name", "momentum"), [*((name, 0.0) for name in THEIRS), *((n, 0.9) for n in MOMENTUM)]
)
def test_the_state_is_as_large_as_the_plan_says(name: str, momentum: float) -> None:
    wanted = _recipe(train={"optimizer": name, "momentum": momentum})
    model = torch.nn.Linear(256, 256)
    optimizer = make_optimizer(wanted, model)
    model(torch.randn(2, 256)).sum().backward()
    optimizer.step()
    tensors = [
        value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    found = sum(tensor.nbytes for tensor in tensors) / parameters
    assert found == pytest.approx(optimizer_bytes(Setup(optimizer=name, momentum=momentum > 0)), abs=0.1)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_first_step_that_is_left_out_leaves_nothing_behind(
    name: str, request: pytest.FixtureRequest
) -> None:
    """As fp16 overflows in its first step; made deterministic, torch shows what lay in memory as NaN."""
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
    torch.use_deterministic_algorithms(True)
    wanted = _recipe(train={"optimizer": name, "momentum": 0.9 if name in MOMENTUM else 0.0})
    found = []
    for gradients in ((torch.inf, 1.0), (1.0,)):
        model = torch.nn.Linear(4, 3)
        torch.nn.init.ones_(model.weight)
        optimizer = make_optimizer(wanted, model)
        for gradient in gradients:
            model.weight.grad = torch.full_like(model.weight, gradient)
            assert step_if_finite(optimizer, model.weight.grad.norm())
        found.append(model.weight.detach())
    assert torch.equal(*found)


def test_nesterov_changes_the_step() -> None:
    found = [
        _after_steps(
            lambda model, nesterov=nesterov: make_optimizer(
                _recipe(train={"optimizer": "sgd", "momentum": 0.9, "nesterov": nesterov}), model
            )
        )
        for nesterov in (False, True)
    ]
    theirs = _after_steps(lambda model: optim.SGD(_groups(model), lr=1e-2, momentum=0.9, nesterov=True))
    assert not torch.allclose(found[0][0], found[1][0])
    torch.testing.assert_close(found[1][0], theirs[0])


def test_lamb_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(RunFailed, match="needs the package pytorch-optimizer") as caught:
        make_optimizer(_recipe(train={"optimizer": "lamb"}), torch.nn.Linear(2, 2))
    assert "pip install" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"train": {"momentum": 0.9}}, "train.momentum"),
        ({"train": {"optimizer": "sgd", "nesterov": True}}, "train.nesterov"),
        ({"train": {"optimizer": "lamb"}, "zero": {"stage": 1}}, "train.optimizer"),
        ({"train": {"optimizer": "adafactor"}, "zero": {"stage": 2}}, "train.optimizer"),
        ({"train": {"schedule": "plateau"}, "eval": {"every": None}}, "train.schedule"),
        ({"lora": {"plus_ratio": 16.0}}, "lora.plus_ratio"),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], field: str) -> None:
    wanted = _recipe(**{"model": {"name": "any"}, "data": {"train": "any.csv"}, **changes})
    assert [conflict.fields[0] for conflict in conflicts(wanted)] == [field]


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    model[0].weight.requires_grad = False
    decayed, kept = make_optimizer(_recipe(), model).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 4)]
    assert [tuple(p.shape) for p in kept["params"]] == [(3,), (3,), (3,)]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert (decayed["lr"], decayed["betas"], decayed["eps"]) == (1e-2, (0.8, 0.95), 1e-6)


def _rates(recipe: Recipe, model: torch.nn.Module, lr: float = 1e-2) -> dict[str, float]:
    """Learning rate of each parameter by its name."""
    groups = parameter_groups(recipe, model)
    set_learning_rate(groups, lr)
    rate = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    return {name: rate[p] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_learns_slower_than_the_one_above(family: str) -> None:
    model = small_model(family, layers=3)
    rates = _rates(_recipe(train={"layer_decay": 0.5}), model)
    depth = depths(model)
    assert sorted(set(depth.values())) == [0, 1, 2, 3, 4]
    for name, rate in rates.items():
        assert rate == pytest.approx(1e-2 * 0.5 ** (4 - depth[name])), name
    for index in range(3):
        inside = {name for name, place in depth.items() if place == index + 1}
        assert inside
        if index < 2:
            assert all(f".{index}." in name for name in inside)
    assert all("embeddings" in name or "encoder.LayerNorm" in name for name in depth if depth[name] == 0)
    head = {name for name in depth if depth[name] == 4}
    assert any("classifier" in name for name in head)
    assert not any(".layer" in name for name in head)


def test_the_head_and_what_stands_on_it_have_their_own_rates() -> None:
    model = small_model("bert", layers=1)
    model.add_module("launcher_head", torch.nn.Linear(2, 2))
    rates = _rates(_recipe(train={"head_lr": 5e-2, "crf_lr": 0.5}), model)
    assert rates["classifier.weight"] == pytest.approx(5e-2)
    assert rates["bert.pooler.dense.bias"] == pytest.approx(5e-2)
    assert rates["launcher_head.weight"] == pytest.approx(0.5)
    assert rates["bert.encoder.layer.0.attention.self.query.weight"] == pytest.approx(1e-2)
    halved = _rates(_recipe(train={"head_lr": 5e-2}), model, lr=5e-3)
    assert halved["launcher_head.weight"] == halved["classifier.weight"] == pytest.approx(2.5e-2)


def test_the_factor_b_learns_faster_with_lora_plus() -> None:
    model = small_model("bert", layers=1, lora={"r": 2})
    wanted = _recipe(tuning="lora", lora={"plus_ratio": 16.0}, train={"head_lr": 5e-2})
    rates = _rates(wanted, model)
    seen = {name.split(".lora_")[1][0]: rate for name, rate in rates.items() if ".lora_" in name}
    assert seen == pytest.approx({"A": 1e-2, "B": 16e-2})
    head = [rate for name, rate in rates.items() if "modules_to_save" in name]
    assert head == pytest.approx([5e-2] * len(head))


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_groups_and_optimizers_are_the_same_on_the_shards_of_zero(
    optimizer: str, tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    train = {"optimizer": optimizer, "momentum": 0.9, "lr": 1e-2, "layer_decay": 0.5, "head_lr": 2e-2}
    found = []
    for count, zero in ((1, {}), (2, {"stage": 2})):
        wanted = recipe(
            tiny_data,
            gpus=count,
            zero=zero,
            model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
            train={"max_steps": 6, "warmup": 0, **train},
            eval={"every": None},
            checkpoint={"every": None},
        )
        found.append(losses(ranks.complete(make_run(tmp_path / f"run{count}", wanted), count)))
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert abs(found[0][-1] - found[0][0]) > 1e-3
