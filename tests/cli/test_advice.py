"""`launch diagnose`, `launch explain`, and what is said of a compression that can't be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.plans import write_bare_model

from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

Planned = Callable[..., RunDir]


@pytest.fixture
def done(finished: tuple[RunDir, Any]) -> Path:
    return finished[0].path


def test_a_finding_is_shown_with_its_figures_and_keys(launch: Launch, planned: Planned) -> None:
    run = planned("flat")
    rows = [
        {"step": step, "epoch": step / 10, "train/loss": 0.7, "train/grad_norm": 0.1} for step in range(1, 31)
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(run.result, {"status": "completed", "best": None, "error": None})
    text = launch("diagnose", "flat").stdout
    assert text.startswith("rate_too_low: the training loss hardly moved\n  seen    loss_at_start 0.7000")
    assert "  try     train.lr=0.007   (now 0.0007)" in text
    (finding,) = json.loads(launch("diagnose", "flat", "--json").stdout)["findings"]
    assert finding["keys"][0] == {"key": "train.lr", "value": 0.007, "now": 0.0007}


@pytest.mark.long
def test_a_short_run_says_nothing(launch: Launch, done: Path) -> None:
    result = launch("diagnose", done, code=2)
    assert "has recorded 6 steps, and 10 are needed" in result.stderr


def test_an_explanation_is_a_list_and_a_page(launch: Launch, done: Path, tmp_path: Path) -> None:
    text = "The coffee was dreadful!"
    shown = launch("explain", done, "--text", text).stdout.splitlines()
    assert [line.split()[-1] for line in shown[1:]] == ["The", "coffee", "was", "dreadful", "!"]
    launch("explain", done, "--text", text, "--html", "why.html")
    page = (tmp_path / "why.html").read_text()
    assert ">dreadful</span>" in page
    assert page.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prune.heads=0.5",), "prune.heads=0.5: only a model that has been trained"),
        (("prune.magnitude=0.5", "init_from={done}", "tuning=lora"), "adapters leave the weights"),
        (("prune.magnitude=0.5", "init_from={done}", "zero.stage=2"), "set zero.stage=0"),
        (
            ("distill.teacher={done}", "distill.hidden=1", "task=token-classification"),
            "states of the first token",
        ),
        (("distill.teacher=nobody",), "no run 'nobody'"),
        (
            ("distill.teacher={done}", "task=token-classification"),
            "was trained for task=classification\n      -> give a run of task=token-classification",
        ),
        (("prune.ffn=1.5",), "prune.ffn=1.5: must be"),
    ],
)
def test_what_can_not_be_compressed(
    launch: Launch, done: Path, tiny: tuple[str, ...], words: tuple[str, ...], said: str
) -> None:
    assert said in launch("plan", *tiny, *(word.format(done=done) for word in words), code=2).stderr


@pytest.mark.parametrize(
    ("family", "words", "said"),
    [
        (
            "deberta-v2",
            ("prune.layers=1",),
            "prune.layers=1: nothing can be taken out of a deberta-v2 encoder yet",
        ),
        (
            "mpnet",
            ("model.gradient_checkpointing=true",),
            "transformers can't compute the layers of a mpnet encoder again",
        ),
        ("mpnet", ("model.dropout.classifier=0.2",), "set model.dropout.hidden, which they follow"),
        ("albert", ("model.freeze.layers=2",), "the model has 2 layers, which share one set of weights"),
    ],
)
def test_what_a_family_can_not_do(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path, family: str, words: tuple[str, ...], said: str
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {"model_type": family, "vocab_size": 100, "max_position_embeddings": 64, **sizes}
    write_bare_model(tmp_path / "model", **config)
    assert said in launch("plan", *tiny, "init_from=./model", *words, code=2).stderr
