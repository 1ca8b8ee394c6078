"""`init_from` on the command line: a run becomes the directory of its model, or there is a clear mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch

from launcher.runs.directory import RunDir

Planned = Callable[..., RunDir]


@pytest.fixture
def words(finished: tuple[RunDir, Any], tiny: tuple[str, ...]) -> tuple[str, ...]:
    """A recipe among whose runs is `done`."""
    return (*tiny, f"runs_dir={finished[0].path.parent}")


@pytest.mark.parametrize("form", ["id", "prefix", "run directory", "model directory"])
def test_a_run_is_settled_on_its_model_when_planned(
    launch: Launch, finished: tuple[RunDir, Any], words: tuple[str, ...], form: str
) -> None:
    done = finished[0]
    reference = {"id": "done", "prefix": "do", "run directory": done.path, "model directory": done.model}[
        form
    ]
    plan = json.loads(launch("plan", *words, f"init_from={reference}", "--json").stdout)
    model = plan["recipe"]["model"]
    assert plan["recipe"]["init_from"] == str(done.model)
    assert (model["name"], model["init"], model["revision"]) == (str(done.model), "pretrained", None)
    assert plan["traffic"]["parameters"] is not None


def test_a_path_in_a_recipe_is_relative_to_it(
    launch: Launch, finished: tuple[RunDir, Any], tmp_path: Path
) -> None:
    path = finished[0].path.parent / "mine.yaml"
    path.write_text("task: classification\ninit_from: done\ndata: {train: train.csv}\n")
    (path.parent / "train.csv").write_text("text,label\n" + "a,x\nb,y\n" * 20)
    plan = json.loads(launch("plan", f"recipe={path}", "executor=local", "--json", cwd=tmp_path).stdout)
    assert plan["recipe"]["model"]["name"] == str(finished[0].model)


def test_no_such_run(launch: Launch, words: tuple[str, ...], tmp_path: Path) -> None:
    result = launch(*words, "init_from=dine", code=2)
    assert "override: init_from=dine: no run 'dine'" in result.stderr
    assert "did you mean done?" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_without_a_model(launch: Launch, planned: Planned, tiny: tuple[str, ...]) -> None:
    planned("young")
    result = launch("plan", *tiny, "init_from=young", code=2)
    assert "init_from=young: this run has no model yet" in result.stderr
    assert "launch status young" in result.stderr
