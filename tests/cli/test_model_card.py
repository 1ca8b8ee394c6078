"""README.md of a model: read by the hub's own library, without a path of this machine, with the spread over seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from support.commands import Launch

from launcher.cards.model_card import model_card
from launcher.runs.directory import RunDir


@pytest.fixture
def seeds(finished: tuple[RunDir, Any], tmp_path: Path) -> list[RunDir]:
    """Three runs that differ in nothing but the seed, and one of another rate."""
    found = []
    for seed in (1, 2, 3, 4):
        run = RunDir(tmp_path / "runs" / f"seed-{seed}")
        shutil.copytree(finished[0].path, run.path)
        plan = run.plan_tree()
        plan["recipe"] |= {"seed": seed}
        if seed == 4:
            plan["recipe"]["train"]["lr"] = 0.5
        run.plan.write_text(json.dumps(plan))
        result = json.loads(run.result.read_text())
        result["test"]["accuracy"] = 0.5 + seed / 10
        run.result.write_text(json.dumps(result))
        found.append(run)
    return found


def test_a_training_leaves_a_card_that_the_hub_reads(finished: tuple[RunDir, Any]) -> None:
    run = finished[0]
    card = ModelCard.load(run.model / "README.md")
    card.validate = lambda *_: None  # it would ask the hub
    data = card.data
    assert data.pipeline_tag == "text-classification"
    assert data.get("base_model") is None, "it began with random weights"
    assert data.eval_results is not None
    found = {(it.dataset_split, it.metric_name): it.metric_value for it in data.eval_results}
    result = run.read_result()
    assert result is not None
    assert result.best is not None
    assert found["validation", "accuracy"] == pytest.approx(result.best.value, abs=1e-6)
    assert ("test", "loss") in found
    text = card.text
    assert "To be written by those who trained it" in text
    assert 'pipeline("text-classification", model=".")' in text
    assert "| train | 64 |" in text
    assert "max_steps: 6" in text


def test_names_of_classes_are_no_markup(finished: tuple[RunDir, Any], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "evil")
    shutil.copytree(finished[0].path, run.path)
    evil = ["<script>alert(1)</script>", "\x1b]0;x\x07 [a](javascript:b)"]
    for path in (*run.path.glob("evaluated/*.json"), run.path / "provenance" / "data.json"):
        text = path.read_text()
        for name, other in zip(("negative", "positive"), evil, strict=True):
            text = text.replace(f'"{name}"', json.dumps(other))
        path.write_text(text)
    card = model_card(run)
    assert "`<script>alert(1)</script>` |" in card, "a table of what was predicted"
    assert "<script>" not in card.replace("`<script>alert(1)</script>`", "")
    assert "\x1b" not in card
    assert "`\\x1b]0;x\\x07 [a](javascript:b)`" in card


def test_nothing_of_this_machine_stands_in_it(finished: tuple[RunDir, Any]) -> None:
    text = (finished[0].model / "README.md").read_text()
    for path in (finished[0].path.parents[1], Path(__file__).parents[2], Path.home()):
        assert str(path) not in text
    for key in ("runs_dir", "executor", "wandb", "run_id"):
        assert f"\n{key}" not in text


@pytest.mark.long
def test_an_export_has_means_and_spread_over_seeds(
    launch: Launch, seeds: list[RunDir], tmp_path: Path
) -> None:
    launch("export", "seed-1", "--output", "given")
    card = (tmp_path / "given" / "README.md").read_text()
    assert "0.7000 ± 0.1000" in card
    assert "over 3 seeds" in card
    assert "±" not in model_card(seeds[3])


def test_few_classes_have_their_confusions_in_it(finished: tuple[RunDir, Any], tmp_path: Path) -> None:
    run = finished[0]
    (kept,) = [each.confusion for each in run.read_examinations() if each.split == "validation"]
    assert kept is not None
    card = (run.model / "README.md").read_text()
    assert f"| | {' | '.join(f'`{name}`' for name in kept.names)} |" in card
    for name, row in zip(kept.names, kept.counts, strict=True):
        assert f"| `{name}` | {' | '.join(map(str, row))} |" in card

    other = RunDir(tmp_path / "r")
    shutil.copytree(run.path, other.path)
    damaged = other.evaluated / "validation.json"
    damaged.write_text("{")
    assert "On the validation data, examples" not in model_card(other)


def test_names_in_data_cannot_write_into_the_page(finished: tuple[RunDir, Any], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "r")
    shutil.copytree(finished[0].path, run.path)
    used = json.loads(run.data_used.read_text())
    used["labels"] = ["a`|<b>\n# heading", "b"]
    used["files"][0]["path"] = "/x/a|b`.csv"
    run.data_used.write_text(json.dumps(used))
    text = model_card(run)
    assert "\n# heading" not in text
    assert "| `a\\|b'.csv` | train |" in text


def test_a_pretrained_model_and_hub_data_are_named(finished: tuple[RunDir, Any], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "r")
    shutil.copytree(finished[0].path, run.path)
    plan = run.plan_tree()
    plan["recipe"]["model"] |= {"init": "pretrained", "name": "google-bert/bert-base-uncased"}
    plan["recipe"]["data"] |= {"source": "nyu-mll/glue:sst2", "train": None, "validation": None, "test": None}
    run.plan.write_text(json.dumps(plan))
    path = tmp_path / "README.md"
    path.write_text(model_card(run, "me/my-model"))
    data = ModelCard.load(path).data
    assert (data.base_model, data.datasets) == ("google-bert/bert-base-uncased", ["nyu-mll/glue"])
    assert 'model="me/my-model"' in path.read_text()
