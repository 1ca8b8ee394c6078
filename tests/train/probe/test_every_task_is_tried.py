"""The probe is at home in every task: where nothing is wrong, nothing is found wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.every_task import TASKS, recipe_of, write_rows
from support.training import make_run, train_here

from launcher.engine import choice


@pytest.mark.parametrize("task", TASKS)
def test_a_task_without_an_error_is_found_right(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "LEAST_PASSES", 1)
    run = make_run(tmp_path / "run", recipe_of(write_rows(tmp_path), task, train={"max_steps": 1}))
    train_here(run, "none")
    taken = json.loads(run.attempt(1).engine.read_text())
    assert taken["is_fallback"] is False, taken["why"]
    assert "checks passed" in taken["why"]
