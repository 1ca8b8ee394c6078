"""Muon trains the matrices of the layers, AdamW everything else, each as torch has it, with the recipe's groups and rates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import inputs, small_config, small_model
from support.training import Fault, RankServer, losses, make_run, recipe, tensors
from torch import optim

from launcher.families import FAMILIES, shape_from_config
from launcher.planning.estimate import Setup, estimate_memory
from launcher.planning.plan import DataSize, Identity, Machine, make_plan
from launcher.planning.step_time import update_flops
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.model.layer_depth import depths
from launcher.train.step.muon import ORTHOGONAL
from launcher.train.step.optimizers import make_optimizer, set_learning_rate

Step = Callable[[torch.nn.Module], Any]


def _recipe(**changes: Any) -> Recipe:
    train = {
        "optimizer": "muon",
        "lr": 1e-2,
        "beta1": 0.8,
        "beta2": 0.95,
        "epsilon": 1e-6,
        "weight_decay": 0.1,
    }
    return Recipe.model_validate(
        {"task": "classification", **changes, "train": {**train, **changes.get("train", {})}}
    )


def _losses(model: torch.nn.Module, take_step: Callable[[int], None], steps: int = 4) -> list[float]:
    found = []
    labels = torch.tensor([0, 1, 2, 0])
    model.eval()
    for step in range(steps):
        loss = model(**inputs(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        take_step(step)
        model.zero_grad()
        found.append(loss.item())
    return found


def _by_muon(model: torch.nn.Module, wanted: Recipe) -> set[str]:
    """Names of the parameters that Muon updates."""
    groups = make_optimizer(wanted, model).param_groups
    orthogonal = {parameter for group in groups if group[ORTHOGONAL] for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if parameter in orthogonal}


def test_steps_are_those_of_torchs_muon_and_adamw() -> None:
    """With layer-wise rates and a schedule; only matrices decay."""
    rate = [1e-2, 8e-3, 6e-3, 4e-3]
    ours, theirs = small_model("bert"), small_model("bert")
    optimizer = make_optimizer(_recipe(train={"layer_decay": 0.5}), ours)

    def step(number: int) -> None:
        set_learning_rate(optimizer.param_groups, rate[number])
        optimizer.step()

    found = _losses(ours, step)
    muon, adamw, depth = [], [], depths(theirs)
    for name, parameter in theirs.named_parameters():
        decay = 0.1 if parameter.dim() > 1 else 0.0
        group = {"params": [parameter], "scale": 0.5 ** (3 - depth[name]), "weight_decay": decay}
        (muon if "encoder.layer" in name and parameter.dim() == 2 else adamw).append(group)
    both = (
        optim.Muon(muon, lr=1.0, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"),
        optim.AdamW(adamw, lr=1.0, betas=(0.8, 0.95), eps=1e-6, fused=True),
    )

    def plain_step(number: int) -> None:
        for each in both:
            for group in each.param_groups:
                group["lr"] = rate[number] * group["scale"]
            each.step()

    assert found == _losses(theirs, plain_step)
    assert len(muon) == 2 * 6
    assert all(torch.equal(*pair) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_head_and_vectors_are_left_to_adamw(family: str) -> None:
    model = small_model(family)
    found = _by_muon(model, _recipe())
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() == 2}
    assert found < matrices
    assert found == {name for name in matrices if ".layer" in name or "albert_layer_groups" in name}


def test_of_lora_it_is_the_factors() -> None:
    model = small_model("bert", lora={"r": 2})
    found = _by_muon(model, _recipe(tuning="lora"))
    assert found == {name for name, _ in model.named_parameters() if ".lora_" in name}


def test_a_model_without_a_head_has_layers_too() -> None:
    """Vectors of sentences come from the bare encoder, whose names have no prefix."""
    bare = small_model("bert").bert
    depth = depths(bare)
    assert depth["embeddings.word_embeddings.weight"] == 0
    assert depth["encoder.layer.1.output.dense.weight"] == 2
    assert depth["pooler.dense.weight"] == 3
    assert len(_by_muon(bare, _recipe())) == 2 * 6


def test_a_resumed_optimizer_goes_on_bitwise(tmp_path: Path) -> None:
    def train(stop: int | None) -> list[float]:
        model = small_model("bert")
        optimizers = [make_optimizer(_recipe(), model)]

        def step(number: int) -> None:
            if number == stop:
                torch.save(optimizers[0].state_dict(), tmp_path / "state.pt")
                optimizers[0] = make_optimizer(_recipe(), model)
                optimizers[0].load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
            set_learning_rate(optimizers[0].param_groups, 1e-2 / (number + 1))
            optimizers[0].step()

        return _losses(model, step, steps=6)

    assert train(None) == train(3)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_plan_knows_the_size_of_its_state(tuning: str) -> None:
    lora = {"r": 4} if tuning == "lora" else None
    config = small_config("bert", labels=2)
    model = small_model("bert", labels=2, lora=lora)
    optimizer = make_optimizer(_recipe(tuning=tuning), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    kept = sum(
        value.nbytes for state in optimizer.state.values() for name, value in state.items() if name != "step"
    )
    shape = shape_from_config(config.to_dict(), "config.json")
    head = None if lora is None else 2 * (32 + 1)  # peft leaves the pooler frozen
    setup = Setup(tuning=tuning, lora_r=4, optimizer="muon", device="cpu", head_parameters=head)
    planned = estimate_memory(shape, setup, micro_batch_size=1, max_length=8)
    assert kept == planned.optimizer
    assert update_flops(shape, setup) > 0


def test_it_is_refused_where_matrices_are_cut() -> None:
    wanted = _recipe(model={"name": "any"}, data={"train": "any.csv"}, zero={"stage": 1})
    (conflict,) = conflicts(wanted)
    assert conflict.fields == ("train.optimizer", "zero.stage")
    assert "doesn't work on the shards of ZeRO" in conflict.message


def test_the_plan_doubts_it_where_all_pretrained_weights_train() -> None:
    def doubts(**changes: Any) -> list[str]:
        identity = Identity("tiny", "tiny", "/runs/tiny", sys.executable, None, "0")
        plan = make_plan(_recipe(**changes), Cluster(), Machine(), identity, None, DataSize())
        return [note for note in plan.notes if note.startswith("train.optimizer=muon")]

    (doubt,) = doubts(model={"name": "any"})
    assert "pretrained by Adam" in doubt
    assert doubts(model={"name": "any"}, tuning="lora") == []
    assert doubts(model={"init": "scratch"}) == []


@pytest.mark.long
def test_runs_resume_exactly_and_agree_on_any_number_of_ranks(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    wanted = recipe(
        tiny_data,
        gpus=2,
        model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
        train={"optimizer": "muon", "max_steps": 8},
        eval={"every": None},
        checkpoint={"every": 3},
    )
    expected = ranks.complete(make_run(tmp_path / "expected", wanted), 2)
    run = make_run(tmp_path / "run", wanted)
    ranks.attempt(run, 2, fault=Fault("stop", "step", 5))
    ranks.complete(run, 2, number=2)
    assert losses(run) == losses(expected)
    found, wished = (tensors(each.checkpoints / "step_8") for each in (run, expected))
    assert all(torch.equal(found[name], wished[name]) for name in wished)
    alone = ranks.complete(make_run(tmp_path / "alone", wanted.model_copy(update={"gpus": 1})))
    assert losses(alone) == pytest.approx(losses(expected), abs=1e-3)
