"""What people get for a mistake: all of them at once, exit code 2, the remedy, and nothing created."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.commands import Launch
from support.stand_ins import stand_in

RECIPE = """\
task: classification
model: {init: scratch}
data:
  train: train.csv
  label: lable
train:
  lr: fast
  sched: cosine
zero:
  stage: 7
"""
DATA = "text,label\n" + "".join(
    f"a sentence {number},{'yes' if number % 2 else 'no'}\n" for number in range(40)
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(DATA)
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def test_eleven_mistakes_at_once(launch: Launch, tmp_path: Path, recipe: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = launch(
        f"recipe={recipe}",
        "executor=local",
        "nodez=4",  # unknown key
        "nodes=4",  # needs Slurm
        "gpus=0",  # too few
        "precision=fp61",  # not a precision
        "batch.micro=64",  # more than the global batch of 32
        "data.max_length=many",  # not a number
        "LR=1e-4",  # unknown key
        code=2,
        env={"LAUNCH_SEEED": "1"},  # names no key
    )
    fields = {
        "train.lr": "mine.yaml:7: train.lr=fast: must be a number",
        "train.sched": "mine.yaml:8: train.sched=cosine: unknown key\n      -> did you mean train.schedule?",
        "zero.stage": "mine.yaml:10: zero.stage=7: must be a whole number from 0 to 3",
        "environment": "\n      -> did you mean LAUNCH_SEED?",
        "nodez": "override: nodez=4: unknown key\n      -> did you mean nodes?",
        "gpus": "override: gpus=0: must be a whole number of at least 1",
        "precision": "override: precision=fp61: must be one of bf16, fp16, fp32",
        "batch.micro": "override: batch.micro=64: is larger than batch.global=32",
        "data.max_length": "override: data.max_length=many: must be a whole number",
        "LR": "override: LR=1e-4: unknown key\n      -> did you mean train.lr?",
        "nodes": "override: nodes=4: more than one node needs Slurm",
    }
    for expected in fields.values():
        assert expected in result.stderr, f"{expected}\nis not in\n{result}"
    assert result.stderr.startswith("launch: 11 mistakes, nothing was started\n")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes_in_data_come_with_those_in_the_recipe(launch: Launch, recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("fast", "1e-4").replace("  sched: cosine\n", "").replace("7", "0"))
    result = launch("plan", f"recipe={recipe}", "executor=local", "nodez=4", code=2)
    assert "launch: 2 mistakes" in result.stderr
    assert "nodez=4: unknown key" in result.stderr
    assert "train.csv: data.label=lable: no such column in the file" in result.stderr
    assert "did you mean label?" in result.stderr


def test_as_json(launch: Launch, recipe: Path) -> None:
    document = json.loads(launch("plan", f"recipe={recipe}", "nodez=4", "--json", code=2).stdout)
    assert document["exit_code"] == 2
    problem = next(entry for entry in document["problems"] if entry["field"] == "nodez")
    assert problem == {
        "message": "unknown key",
        "where": "override",
        "field": "nodez",
        "value": "4",
        "remedy": "did you mean nodes?",
    }


def test_a_key_pasted_into_an_override_is_not_repeated(launch: Launch) -> None:
    result = launch("plan", "recipe=smoke", "tracking.wandb.api_key=abcdef0123456789abcdef", "--json", code=2)
    assert "abcdef" not in result.stdout + result.stderr


def test_a_key_from_the_environment_is_not_repeated(launch: Launch) -> None:
    key = "0123456789" * 4
    result = launch("plan", "recipe=smoke", f"run_id={key}/", code=2, env={"WANDB_API_KEY": key})
    assert key not in result.stdout + result.stderr


def test_a_model_directory_that_is_not_there(launch: Launch, tmp_path: Path) -> None:
    result = launch("plan", "recipe=smoke", "model.name=/no/model", "model.init=pretrained", code=2)
    assert "override: model.name=/no/model: no such directory" in result.stderr
    (tmp_path / "empty").mkdir()
    result = launch("plan", "recipe=smoke", "model.name=./empty", "model.init=pretrained", code=2)
    assert "has no config.json" in result.stderr


def test_a_run_that_is_there_already(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    result = launch("run", "recipe=smoke", "executor=local", "run_id=mine", code=2)
    assert "run_id=mine: exists already" in result.stderr
    assert "launch resume mine" in result.stderr
    assert list((tmp_path / "runs" / "mine").iterdir()) == []


def test_a_file_where_the_runs_should_be(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    result = launch("run", "recipe=smoke", "executor=local", "runs_dir=occupied", code=2)
    assert "is not a directory" in result.stderr


@pytest.mark.parametrize("verb", ["status", "logs", "stop", "cancel", "resume", "eval", "export"])
def test_a_run_that_nobody_knows(launch: Launch, tmp_path: Path, verb: str) -> None:
    result = launch(verb, "nothing", code=2)
    assert "no run 'nothing'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_remedy_that_several_mistakes_share_is_said_once(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "a,bad\n" * 10)
    options = ("recipe=smoke", "task=regression", "data.train=train.csv", "data.validation=train.csv")
    found = launch("plan", *options, "data.test=null", code=2)
    said = found.stderr.splitlines()
    assert said[0] == "launch: 8 mistakes, nothing was started"
    assert [line.split(": ")[-1] for line in said[1:5]] == ["'bad' is not a finite number"] * 3 + [
        "7 more cells like these"
    ]
    assert [number for number, line in enumerate(said) if "-> mend or remove the row" in line] == [9]
    assert "task=classification learns classes by name" in said[9]
    report = json.loads(launch("plan", "--json", *options, "data.test=null", code=2).stdout)
    assert all("mend or remove the row" in problem["remedy"] for problem in report["problems"])


def test_runs_that_are_kept_elsewhere(launch: Launch, commands: Path, tmp_path: Path) -> None:
    """Other verbs look in `runs`: how they find this run by its id is said at its start, and where one isn't found."""
    stand_in(commands / "sbatch", "echo 7")
    words = ("recipe=smoke", "executor=slurm", "device=cpu", "run_id=far")
    kept = shlex.quote(str(tmp_path / "else where"))
    said = launch("run", *words, "runs_dir=else where").stderr
    assert f"runs are kept in {kept}: verbs find them by id after export LAUNCH_RUNS_DIR={kept}\n" in said
    assert "--runs-dir DIR looks elsewhere" in launch("status", "far", code=2).stderr
    assert "runs are kept" not in launch("run", *words).stderr
