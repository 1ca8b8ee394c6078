"""`launch recipes explain KEY`: what a key means, and who gives it a value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from support.commands import Launch

from launcher.runs.directory import RunDir


def test_recipes_that_set_a_key_are_named_with_the_line(launch: Launch, repo_root: Path) -> None:
    (found,) = json.loads(launch("recipes", "explain", "train.lr", "--json").stdout)
    places = {each["origin"]: each["value"] for each in found["set"]}
    lines = (repo_root / "recipes" / "roberta-ner.yaml").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if text.strip().startswith("lr:"))
    assert places[f"roberta-ner.yaml:{line}"] == "5e-05"
    assert not any("default" in origin for origin in places)


def test_a_recipe_and_a_run_tell_their_value(
    launch: Launch, planned: Callable[..., RunDir], tmp_path: Path
) -> None:
    planned("r", "train.lr=0.25")
    shown = launch("recipes", "explain", "train.lr", "r").stdout
    assert shown.splitlines()[-1].split() == ["0.25", "override"]
    shutil.copyfile(Path(__file__).parents[2] / "recipes" / "smoke.yaml", tmp_path / "own.yaml")
    assert "own.yaml:" in launch("recipes", "explain", "train.lr", "own.yaml").stdout
    assert launch("recipes", "explain", "eval.extra", "smoke").stdout.split()[-2:] == ["{}", "default"]


def test_an_empty_text_is_shown_as_it_is_written(launch: Launch) -> None:
    key = "embedding.prompts.query"
    (found,) = json.loads(launch("recipes", "explain", key, "--json").stdout)
    assert found["default"] == '""'
    assert launch("recipes", "explain", key, "smoke").stdout.split()[-2:] == ['""', "default"]
    given = launch("recipes", "show", "smoke", f"{key}={found['default']}").stdout.splitlines()
    assert [key, '""', "override"] in [line.split() for line in given]


def test_a_list_of_whole_numbers_is_no_list_of_texts(launch: Launch) -> None:
    (found,) = json.loads(launch("recipes", "explain", "embedding.dimensions", "--json").stdout)
    assert found["takes"] == "a list of one or more whole numbers of at least 1 or null"


def test_a_part_of_a_key_has_no_value_to_tell(launch: Launch) -> None:
    assert "no run 'smok'" in launch("recipes", "explain", "train.lr", "smok", code=2).stderr
    assert "train.lr" in launch("recipes", "explain", "train.l", "smoke", code=2).stderr
    assert "did you mean train.lr?" in launch("recipes", "explain", "learning_rate", code=2).stderr
