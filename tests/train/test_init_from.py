"""Runs that start where another ended: what is taken over, and what is made anew."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import RankServer, make_run, recipe, result
from transformers import AutoModelForSequenceClassification

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.model.build import build_model
from launcher.train.tasks import get_task
from launcher.train.tokens.tokenizer import load_tokenizer

START = {"name": None, "init": "pretrained"}


def continued(data: Path, run: RunDir, /, **changes: Any) -> Recipe:
    """A recipe that starts from the model of `run`, as planning settles it."""
    model = {**START, "name": str(run.model)}
    return recipe(data, init_from=str(run.model), model=model, **changes)


def started(wanted: Recipe, labels: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    tokenizer = load_tokenizer(str(wanted.model.name), None)
    return dict(build_model(wanted, get_task(wanted, tokenizer), labels, tokenizer).model.state_dict())


def trained(run: RunDir) -> dict[str, torch.Tensor]:
    return dict(AutoModelForSequenceClassification.from_pretrained(run.model).state_dict())


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in one.keys() & other.keys() if not torch.equal(one[name], other[name])}


def test_the_same_labels_keep_the_head(tiny_data: Path, tiny_run: RunDir) -> None:
    labels = tuple(AutoModelForSequenceClassification.from_pretrained(tiny_run.model).config.label2id)
    found = started(continued(tiny_data, tiny_run), labels)
    assert found.keys() == trained(tiny_run).keys()
    assert not differing(found, trained(tiny_run))


@pytest.mark.parametrize("labels", [("cold", "warm"), ("cold", "mild", "warm")])
def test_other_labels_get_a_fresh_output_above_the_same_encoder(
    tiny_data: Path, tiny_run: RunDir, labels: tuple[str, ...]
) -> None:
    found = started(continued(tiny_data, tiny_run), labels)
    assert differing(found, trained(tiny_run)) == {"classifier.weight", "classifier.bias"}
    assert len(found["classifier.bias"]) == len(labels)


def test_another_task_takes_the_encoder(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """First the words of the domain, then the labels: the second run trains on, with adapters too."""
    first = ranks.complete(
        make_run(tmp_path / "words", recipe(tiny_data, task="masked-lm", train={"max_steps": 4}))
    )
    full = continued(tiny_data, first, train={"max_steps": 3})
    words = {name: value for name, value in _weights(first).items() if name.startswith("bert.encoder")}
    assert words
    assert not differing(words, started(full, ("a", "b")))
    for tuning in ("full", "lora"):
        run = make_run(tmp_path / tuning, continued(tiny_data, first, tuning=tuning, train={"max_steps": 3}))
        assert result(ranks.complete(run))["best"]["metric"] == "accuracy"
    first.model.rename(tmp_path / "elsewhere")  # what was trained needs nothing of what it was trained from
    assert ranks.verb("predict", run.path, "--text", "fine")["predictions"]
    assert "accuracy" in ranks.verb("eval", run.path)["validation"]


def _weights(run: RunDir) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.model / "model.safetensors")


def test_the_tokenizer_comes_with_the_model(tmp_path: Path, tiny_data: Path, tiny_run: RunDir) -> None:
    """Data with words of their own don't change what the ids mean."""
    for split in ("train", "validation"):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *[(f"zebra {i}", i % 2) for i in range(30)]])
    files = {"train": str(tmp_path / "train.csv"), "validation": str(tmp_path / "validation.csv")}
    wanted = continued(tiny_data, tiny_run, data={**files, "test": None})
    from launcher.train.inputs import tokenizer_for

    own = load_tokenizer(str(tiny_run.model), None)
    assert tokenizer_for(wanted).get_vocab() == own.get_vocab()
