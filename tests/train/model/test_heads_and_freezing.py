"""Deeper heads, layers that start anew, and layers that don't train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.models import NoTokenizer, build_classifier, inputs, logits, pretrained
from support.training import RankServer, make_run, recipe, result
from transformers import AutoModel, AutoModelForSequenceClassification

from launcher.errors import RunFailed
from launcher.families import shape_from_config
from launcher.planning.conflicts import plan_conflicts
from launcher.planning.surroundings import Machine
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.model.build import cpu_state, save_model
from launcher.train.model.layer_depth import depths
from launcher.train.tasks import extra_head, get_task

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FAMILIES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert")


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(request.param, tmp_path_factory.mktemp(request.param) / "encoder", layers=3)


def _recipe(encoder: Path, tuning: str = "full", **model: Any) -> Recipe:
    named = {"init": "pretrained", "name": str(encoder)}
    return recipe(Path("unused"), tuning=tuning, model={**named, **model})


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_deeper_head_adds_to_the_linear_one_and_is_saved_beside_it(
    tuning: str, encoder: Path, tmp_path: Path
) -> None:
    head = {"layers": 2, "width": 24, "dropout": 0.5, "activation": "tanh"}
    wanted = _recipe(encoder, tuning, head=head)
    built = build_classifier(wanted)
    deep: Any = built.base.launcher_head
    kinds = [type(layer).__name__ for layer in deep.stack]
    assert kinds == ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert [tuple(p.shape) for p in deep.parameters() if p.dim() > 1] == [(24, 32), (24, 24), (3, 24)]
    assert all(p.requires_grad for p in deep.parameters())
    assert deep.stack[2].p == 0.5
    built.model.train()(**inputs()).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in deep.parameters())

    torch.nn.init.normal_(deep.stack[-1].weight)  # as far from the linear head as training may bring it
    expected = logits(built.model)
    save_model(built, cpu_state(built.model), NoTokenizer(), tmp_path / "model")
    assert len(load_file(tmp_path / "model" / extra_head.FILE)) == 6
    plain, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not torch.allclose(logits(plain), expected, atol=1e-3)
    extra_head.load(plain, get_task(wanted).extra_head(plain.config), tmp_path / "model")
    torch.testing.assert_close(logits(plain), expected, atol=1e-5, rtol=1e-4)


def test_top_layers_start_anew_and_the_others_do_not(encoder: Path) -> None:
    source = AutoModel.from_pretrained(encoder).state_dict()
    built = build_classifier(_recipe(encoder, reinit_layers=1))
    prefix = f"{built.base.base_model_prefix}."
    places = depths(built.base)
    seen = set()
    for name, parameter in built.base.named_parameters():
        if parameter.dim() < 2 or not name.startswith(prefix) or "pooler" in name:
            continue
        seen.add(places[name])
        kept = torch.equal(parameter, source[name.removeprefix(prefix)])
        assert kept == (places[name] != 3), name
        if not kept:
            assert 0.01 < float(parameter.detach().std()) < 0.04
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_frozen_layers_do_not_train(tuning: str, encoder: Path) -> None:
    free, frozen = (
        build_classifier(_recipe(encoder, tuning, freeze=freeze))
        for freeze in ({}, {"embeddings": True, "layers": 2})
    )
    places = depths(frozen.model)
    for (name, one), (_, other) in zip(
        free.model.named_parameters(), frozen.model.named_parameters(), strict=True
    ):
        assert other.requires_grad == (one.requires_grad and places[name] > 2), name
    assert any(p.requires_grad for p in frozen.model.parameters())


def test_embeddings_or_layers_alone_can_be_frozen(encoder: Path) -> None:
    for freeze, expected in (({"embeddings": True}, {0}), ({"layers": 1}, {1})):
        model = build_classifier(_recipe(encoder, freeze=freeze)).model
        places = depths(model)
        found = {places[name] for name, p in model.named_parameters() if not p.requires_grad}
        assert found == expected


def test_more_layers_than_there_are_is_a_mistake(encoder: Path) -> None:
    config = AutoModel.from_pretrained(encoder).config
    shape = shape_from_config(config.to_dict(), "config.json")
    for model in ({"freeze": {"layers": 4}}, {"reinit_layers": 4}):
        wanted = _recipe(encoder, **model)
        with pytest.raises(RunFailed, match="the model has 3 layers"):
            build_classifier(wanted)
        (conflict,) = plan_conflicts(wanted, Cluster(), Machine(), shape)
        assert conflict.message == "the model has 3 layers"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": {"head": {"layers": 1}}, "task": "masked-lm"}, "model.head.layers"),
        ({"model": {"reinit_layers": 1}, "tuning": "lora"}, "model.reinit_layers"),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], field: str) -> None:
    base: dict[str, Any] = {"task": "classification", "data": {"train": "t.csv"}, **changes}
    base["model"] = {"name": "m", **base["model"]}
    assert field in [found.fields[0] for found in conflicts(Recipe.model_validate(base))]


def test_a_run_with_a_deeper_head_evaluates_and_predicts_with_it(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    wanted = recipe(
        tiny_data,
        model={"head": {"layers": 1, "width": 16}, "freeze": {"embeddings": True, "layers": 1}},
        train={"max_steps": 4, "lr": 1e-2},
        eval={"every": None},
        checkpoint={"every": None},
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    measured = result(run)["measured"]
    assert measured["trainable_parameters"] < measured["parameters"] / 1.5
    assert (run.model / extra_head.FILE).exists()
    assert ranks.verb("eval", run.path)["test"]["loss"] == pytest.approx(
        result(run)["test"]["loss"], abs=1e-6
    )
