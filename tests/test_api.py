"""`import launcher`: plans, runs and their results from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import launcher
from launcher.errors import RunFailed, UserError
from launcher.planning.prepare import prepare

QUICK = {
    "executor": "local",
    "device": "cpu",
    "model.scratch.hidden": 32,
    "model.scratch.layers": 1,
    "model.scratch.vocab": 200,
    "data.max_length": 24,
    "data.limit": 64,
    "train.max_steps": 4,
    "tracking.wandb.mode": "disabled",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_plan_is_that_of_the_same_words_on_the_command_line(tmp_path: Path) -> None:
    typed = {
        **QUICK,
        "data.text": ["text"],
        "run_id": "r",
        "train.clip": None,
        "data.stratify": False,
    }
    words = [
        *(f"{key}={value}" for key, value in QUICK.items()),
        "data.text=[text]",
        "run_id=r",
        "train.clip=null",
        "data.stratify=false",
    ]
    assert launcher.plan("smoke", typed).plan == prepare(["recipe=smoke", *words], {}, tmp_path).plan
    assert list(tmp_path.iterdir()) == []


def test_text_that_looks_like_something_else_stays_text() -> None:
    notes = ["null", "1e-5", "[a,b]", "@file", 'say "hello", \\ twice', "诸葛"]
    for text in notes:
        made = launcher.plan(
            "smoke", {**QUICK, "tracking.wandb.notes": text, "tracking.wandb.tags": [text, "b"]}
        )
        assert made.plan.recipe.tracking.wandb.notes == text
        assert made.plan.recipe.tracking.wandb.tags == (text, "b")


def test_every_mistake_is_in_one_error_and_nothing_is_created(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        launcher.run("smoke", {"train.lr": "fast", "nodez": 4})
    assert {problem.field for problem in caught.value.problems} == {"train.lr", "nodez"}
    with pytest.raises(TypeError, match="not <object"):
        launcher.plan("smoke", {"train.lr": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_started_waited_for_and_read(tmp_path: Path) -> None:
    planned = launcher.plan("smoke", {**QUICK, "run_id": "mine"})
    run = launcher.run(planned)
    assert (run.id, run.path) == ("mine", tmp_path / "runs" / "mine")
    with pytest.raises(TimeoutError, match="mine is not over"):
        run.wait(timeout_s=0)
    result = run.result()
    assert (result["status"], result["steps"]) == ("completed", 4)
    assert [line["step"] for line in run.metrics() if "train/loss" in line] == [1, 2, 3, 4]
    predictor = run.predictor()
    with pytest.raises(UserError, match=r"takes texts, and got a list\n.*predictor\(\*texts\)"):
        predictor(["The coffee was far from dreadful!"])  # type: ignore[arg-type]
    (found,) = predictor("The coffee was far from dreadful!")
    assert found["prediction"] in found["probabilities"]
    again = launcher.Run("min")
    assert again.wait().result() == result
    assert again.state().status == "completed"
    with pytest.raises(UserError, match="exists"):
        launcher.run(planned)


@pytest.mark.long
def test_a_run_that_failed_says_why() -> None:
    Path("loss.py").write_text("def loss(logits, labels):\n    raise ValueError('no')\n", encoding="utf-8")
    run = launcher.run("smoke", QUICK, loss_file=Path("loss.py"))
    with pytest.raises(RunFailed, match="no"):
        run.result()


def test_a_run_can_be_stopped_and_killed() -> None:
    run = launcher.run("smoke", {**QUICK, "train.max_steps": 100_000})
    run.cancel()
    assert run.result()["status"] == "cancelled"


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, launcher; print([n for n in ('pydantic', 'yaml', 'click', 'launcher.api') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {"Run", "plan", "run"} <= set(dir(launcher))
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        launcher.walk  # noqa: B018
