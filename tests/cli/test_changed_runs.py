"""Files of a stopped run that were changed by hand: refused with the difference, or accepted and recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json


@pytest.mark.parametrize("name", ["plan.json", "recipe.yaml"])
@pytest.mark.fault(28)
def test_a_change_is_refused_with_its_difference_or_accepted_and_kept(
    launch: Callable[..., Any], make_run: Callable[..., RunDir], name: str
) -> None:
    run = make_run("touch TRAINED; exit 0")
    path = run.path / name
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43').replace("seed: 42", "seed: 43"))
    said = launch("resume", "r", code=2).stderr
    assert "was changed since it was rendered" in said
    assert "43" in said
    assert "--accept-changes" in said
    assert not (run.path / "TRAINED").exists()

    launch("resume", "r", "--accept-changes", code=None)
    assert (run.path / "TRAINED").exists()
    assert "43" in (run.control / "accepted_before_attempt_1.diff").read_text()
    assert "was changed" not in launch("resume", "r", code=None).stderr


def test_other_ends_of_lines_are_no_change(
    launch: Callable[..., Any], make_run: Callable[..., RunDir]
) -> None:
    """As an editor leaves them: the difference that was shown had no line in it."""
    run = make_run("touch TRAINED; exit 0")
    run.recipe.write_bytes(run.recipe.read_bytes().strip().replace(b"\n", b"\r\n"))
    assert "was changed" not in launch("resume", "r", code=None).stderr
    assert (run.path / "TRAINED").exists()


def change(run: RunDir, before: str, after: str) -> None:
    assert before in run.recipe.read_text()
    run.recipe.write_text(run.recipe.read_text().replace(before, after))


def test_an_accepted_recipe_is_what_is_trained(
    launch: Callable[..., Any], make_run: Callable[..., RunDir]
) -> None:
    run = make_run("exit 0")
    lr = run.plan_tree()["recipe"]["train"]["lr"]
    change(run, f'"lr": {lr},', '"lr": 0.07,')
    launch("resume", "r", "--accept-changes", code=None)
    assert run.plan_tree()["recipe"]["train"]["lr"] == 0.07
    assert '"lr": 0.07' in (run.control / "accepted_before_attempt_1.diff").read_text()
    assert "was changed" not in launch("resume", "r", code=None).stderr


@pytest.mark.fault(28)
def test_what_the_run_was_planned_with_cant_be_changed_by_hand(
    launch: Callable[..., Any], make_run: Callable[..., RunDir]
) -> None:
    run = make_run("touch TRAINED; exit 0")
    plan, total = run.plan.read_text(), run.plan_tree()["recipe"]["batch"]["global"]
    change(run, f'"global": {total},', f'"global": {total + 1},')
    said = launch("resume", "r", "--accept-changes", code=2).stderr
    assert f"batch.global={total + 1}: the run was planned with another value" in said
    run.recipe.write_text("train: [")
    assert "Traceback" not in launch("resume", "r", "--accept-changes", code=2).stderr
    assert run.plan.read_text() == plan
    assert not (run.path / "TRAINED").exists()


@pytest.mark.fault(3)
def test_a_model_that_was_half_replaced_is_put_back(
    launch: Callable[..., Any], make_run: Callable[..., RunDir]
) -> None:
    run = make_run("exit 1")
    run.former_model.mkdir()
    (run.former_model / "config.json").write_text("{}")
    launch("resume", "r", code=1)
    assert (run.model / "config.json").is_file()
    assert not run.former_model.exists()
    assert read_json(run.result) is not None
