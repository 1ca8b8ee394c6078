"""Variants of LoRA: each has the effect its paper describes, and what is saved gives the logits of what was trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.models import NoTokenizer, build_classifier, inputs, logits, pretrained
from support.training import Fault, RankServer, losses, make_run, recipe, tensors
from transformers import AutoModelForSequenceClassification

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.model.build import BuiltModel, cpu_state, save_model
from launcher.train.step.optimizers import make_optimizer
from launcher.train.tasks import MicroBatch, get_task

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"rslora": True, "r": 4},
    "dora": {"dora": True},
    "pissa": {"init": "pissa", "r": 4},
    "pissa and rslora": {"init": "pissa", "rslora": True, "r": 4},
    "embeddings": {"train_embeddings": True},
}


@pytest.fixture(scope="module", params=["bert", "modernbert", "distilbert"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(request.param, tmp_path_factory.mktemp(request.param) / "encoder")


def _recipe(encoder: Path, **lora: Any) -> Recipe:
    return recipe(
        Path("unused"),
        tuning="lora",
        train={"lr": 1e-2},
        lora={"dropout": 0.0, **lora},
        model={"init": "pretrained", "name": str(encoder)},
    )


def _train(built: BuiltModel, wanted: Recipe) -> None:
    optimizer = make_optimizer(wanted, built.model)
    built.model.train()
    for _ in range(3):
        output = built.model(**inputs())
        get_task(wanted).loss_sum(output, MicroBatch({}, torch.tensor([0, 1, 2, 0]), 1)).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_gives_the_logits_of_what_was_trained(
    variant: str, encoder: Path, tmp_path: Path
) -> None:
    wanted = _recipe(encoder, **VARIANTS[variant])
    built = build_classifier(wanted)
    before = logits(built.model)
    _train(built, wanted)
    expected = logits(built.model)
    assert (expected - before).abs().max() > 1e-3
    save_model(built, cpu_state(built.model), NoTokenizer(), tmp_path / "model")
    merged, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(logits(merged), expected, atol=1e-5, rtol=1e-4)
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    adapted = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter")
    torch.testing.assert_close(logits(adapted), expected, atol=1e-5, rtol=1e-4)


def _layers(built: BuiltModel) -> list[Any]:
    found = [module for module in built.model.modules() if hasattr(module, "lora_dropout")]
    assert found
    return found


def test_the_adapter_names_the_revision_of_its_model(encoder: Path) -> None:
    wanted = _recipe(encoder)
    wanted = wanted.model_copy(update={"model": wanted.model.model_copy(update={"revision": "v1"})})
    model: Any = build_classifier(wanted).model
    assert model.peft_config["default"].revision == "v1"


def test_rslora_scales_by_the_root_of_the_rank(encoder: Path) -> None:
    plain, stable = (
        build_classifier(_recipe(encoder, r=4, alpha=8.0, rslora=rslora)) for rslora in (False, True)
    )
    assert {layer.scaling["default"] for layer in _layers(plain)} == {2.0}
    assert {layer.scaling["default"] for layer in _layers(stable)} == {8.0 / math.sqrt(4)}


def test_dora_learns_lengths(encoder: Path) -> None:
    wanted = _recipe(encoder, dora=True)
    built = build_classifier(wanted)
    lengths = {name: p for name, p in built.model.named_parameters() if "lora_magnitude_vector" in name}
    assert len(lengths) == len(_layers(built))
    before = {name: p.detach().clone() for name, p in lengths.items()}
    _train(built, wanted)
    assert all(p.requires_grad and not torch.equal(p, before[name]) for name, p in lengths.items())


def test_pissa_starts_at_the_model_with_its_largest_directions(encoder: Path) -> None:
    plain, pissa = (build_classifier(_recipe(encoder, r=4, init=init)) for init in ("default", "pissa"))
    torch.testing.assert_close(logits(pissa.model), logits(plain.model), atol=1e-5, rtol=1e-4)
    for layer, whole in zip(_layers(pissa), _layers(plain), strict=True):
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight = whole.get_base_layer().weight
        taken = layer.scaling["default"] * b @ a
        torch.testing.assert_close(layer.get_base_layer().weight + taken, weight, atol=1e-5, rtol=1e-4)
        largest = torch.linalg.svdvals(weight)[:4]
        torch.testing.assert_close(torch.linalg.svdvals(taken)[:4], largest, atol=1e-4, rtol=1e-3)


def test_embeddings_train_where_asked(encoder: Path) -> None:
    for asked in (False, True):
        wanted = _recipe(encoder, train_embeddings=asked)
        built = build_classifier(wanted)
        before = {name: p.detach().clone() for name, p in built.model.named_parameters()}
        _train(built, wanted)
        changed = {
            name for name, p in built.model.named_parameters() if not torch.equal(p.detach(), before[name])
        }
        assert any("word_embeddings" in name or "tok_embeddings" in name for name in changed) == asked


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lora": {"dora": True}}, "lora.dora"),
        ({"tuning": "lora", "lora": {"dora": True, "init": "pissa"}}, "lora.init"),
        ({"tuning": "lora", "lora": {"dora": True}, "zero": {"stage": 3}}, "lora.dora"),
        (
            {"tuning": "lora", "lora": {"train_embeddings": True}, "task": "masked-lm"},
            "lora.train_embeddings",
        ),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], field: str) -> None:
    base = {"task": "classification", "model": {"name": "m"}, "data": {"train": "t.csv"}}
    assert field in [found.fields[0] for found in conflicts(Recipe.model_validate({**base, **changes}))]


@pytest.mark.long  # train/test_resume.py
def test_a_killed_run_goes_on_bitwise(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    """PiSSA's weights without their largest directions are not in the checkpoint: they are computed again, the same."""
    wanted = recipe(
        tiny_data,
        tuning="lora",
        lora={"init": "pissa", "rslora": True, "train_embeddings": True, "plus_ratio": 4.0},
        model={"init": "pretrained", "name": str(tiny_run.model)},
        train={"max_steps": 5},
        eval={"every": None},
        checkpoint={"every": 2},
    )
    expected = ranks.complete(make_run(tmp_path / "expected", wanted))
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("kill", "step", 3)) == [-9]
    ranks.complete(run, number=2)
    assert losses(run) == losses(expected)
    found, wished = (tensors(each.checkpoints / "step_5") for each in (run, expected))
    assert [name for name in wished if not torch.equal(found[name], wished[name])] == []
