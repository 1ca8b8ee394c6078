"""The best model in model/ is believed only where it is of the step that the run's state calls the best."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.training import Fault, RankServer, make_run, metrics, recipe, result

from launcher.cli.verbs.models import trained_run
from launcher.runs.best_model import step_of
from launcher.runs.directory import RunDir
from launcher.runs.events import Notice, read_events
from launcher.runs.files import write_json


def stopped(path: Path, data: Path, ranks: RankServer) -> RunDir:
    """A run that was stopped after step 4; the first evaluation, after step 3, is its best."""
    wanted = recipe(data, train={"max_steps": 6}, eval={"every": 3}, checkpoint={"every": 3})
    run = make_run(path, wanted)
    assert ranks.attempt(run, fault=Fault("stop", "step", 4)) == [0]
    assert result(run)["best"]["step"] == step_of(run.model) == 3
    return run


def notices(run: RunDir) -> list[str]:
    return [event.text for event in read_events(run.events, Notice)]


@pytest.mark.fault(3)
def test_a_lost_model_is_written_again_from_the_checkpoint_of_its_step(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    run = stopped(tmp_path / "run", tiny_data, ranks)
    for checkpoint in run.checkpoints.iterdir():
        if checkpoint.name != "step_3":
            shutil.rmtree(checkpoint)
    weights = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    run.stop.touch()
    assert ranks.attempt(run, number=2) == [0]
    assert "the best model, of step 3, is missing: it is written again" in notices(run)
    assert (run.model / "model.safetensors").read_bytes() == weights
    assert step_of(run.model) == 3


@pytest.mark.fault(3)
def test_a_model_of_another_step_is_not_believed(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run = stopped(tmp_path / "run", tiny_data, ranks)
    write_json(run.model / "launcher.json", {"step": 1})
    ranks.complete(run, number=2)
    assert (
        "the best model, of step 3, is missing (model/ is of step 1) and can't be made again: "
        "the best from now on is kept"
    ) in notices(run)
    assert result(run)["best"]["step"] == step_of(run.model) == 6


@pytest.mark.fault(3)
def test_a_run_at_its_end_whose_model_is_lost_keeps_that_of_its_last_step(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    """Somebody has removed it while the run trained: there is no evaluation to come that would keep another."""
    learns_nothing = {"max_steps": 6, "lr": 1e-12}
    wanted = recipe(tiny_data, train=learns_nothing, eval={"every": 3}, checkpoint={"every": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["best"]["step"] == 3
    shutil.rmtree(run.model)
    ranks.complete(run, number=2)
    assert result(run)["best"]["step"] == step_of(run.model) == 6
    assert [row["step"] for row in metrics(run, "validation")] == [3, 6], "each once"


@pytest.mark.parametrize(
    ("status", "more"), [("completed", ""), ("failed", ": launch resume run puts it right")]
)
def test_who_uses_a_model_of_another_step_is_told(
    tiny_run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, more: str
) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    recorded = json.loads(run.result.read_text())
    write_json(run.result, {**recorded, "status": status, "best": {**recorded["best"], "step": 1}})
    trained_run("run", tmp_path)
    step = step_of(run.model)
    assert f"model/ is of step {step}, but the best is of step 1{more}\n" in capsys.readouterr().err
