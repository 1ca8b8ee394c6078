"""A sweep that W&B controls: the real `wandb agent` starts `launch` for each trial; and what a completed run shows there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.waiting import wait_until
from support.wandb_stub import Sweep, WandbStub
from support.words import SMALLEST

from launcher.errors import UserError
from launcher.loading.resolve import load
from launcher.planning.prepare import prepare
from launcher.planning.wandb_agent_run import begun_by_agent
from launcher.runs.directory import RunDir, create

OF_THE_SWEEP = (
    *(word for word in SMALLEST if not word.startswith("batch.global")),  # which W&B draws
    "executor=local",
    "train.max_steps=4",
    "tracking.wandb.mode=online",
    "tracking.wandb.upload=[mistakes,model]",
)
LONG = 1000
"""Steps of a trial that is stopped on the way."""
TRIALS: dict[str, dict[str, Any]] = {
    "aa11bb22": {"train.lr": 1e-05, "batch.global": 8},
    "12345678": {"train.lr": 0.001, "batch.global": 16},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[WandbStub, Path]:
    """The server and the directory, after an agent has started every trial and left."""
    directory = tmp_path_factory.mktemp("swept")
    command = [sys.executable, "-m", "launcher", *OF_THE_SWEEP, "${args_no_hyphens}"]
    config = {"method": "random", "metric": {"name": "best/accuracy", "goal": "maximize"}, "command": command}
    with WandbStub() as server:
        server.sweeps["sw123456"] = Sweep(yaml.safe_dump(config), TRIALS)
        agent = [sys.executable, "-m", "wandb", "agent", "a-team/a-project/sw123456"]
        quiet = {"WANDB_DIR": str(directory), "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            agent,
            cwd=directory,
            env={**os.environ, **server.environment(), **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.unknown == []
        there = {**os.environ, **server.environment(), **quiet}
        lay_out = [sys.executable, "-m", "launcher", "sync", "12345678", "--workspace"]
        done = subprocess.run(
            lay_out, cwd=directory, env=there, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{server.url}/a-team/a-project?nw=")
    return server, directory


@pytest.mark.long
def test_every_trial_is_a_run_with_its_values_in_the_sweep(swept: tuple[WandbStub, Path]) -> None:
    server, directory = swept
    for run_id, values in TRIALS.items():
        run = RunDir(directory / "runs" / run_id)
        recipe = run.plan_tree()["recipe"]
        assert (recipe["train"]["lr"], recipe["batch"]["global"]) == tuple(values.values())
        result = run.read_result()
        assert result is not None
        assert result.status == "completed"
        there = server.run(run_id)
        assert (there.attributes["sweep"], there.entity, there.project) == ("sw123456", "a-team", "a-project")
        assert [row["_step"] for row in server.history(run_id)] == [1, 2, 3, 4]
        assert there.exit_code == 0
        shown = json.loads(there.config)
        assert {key: shown[key]["value"] for key in values} == values, "where the sweep looks for them"


@pytest.mark.slow
@pytest.mark.long
def test_a_trial_that_was_preempted_is_taken_up_again_under_its_id(tmp_path: Path) -> None:
    words = [
        word for word in OF_THE_SWEEP if not word.startswith(("train.max_steps", "tracking.wandb.upload"))
    ]
    command = [sys.executable, "-m", "launcher", *words, f"train.max_steps={LONG}", "eval.every=null"]
    config = {"method": "random", "command": [*command, "${args_no_hyphens}"]}
    run = RunDir(tmp_path / "runs" / "aa11bb22")
    with WandbStub() as server:
        server.sweeps["sw123456"] = Sweep(yaml.safe_dump(config), {"aa11bb22": TRIALS["aa11bb22"]})
        environment = {**os.environ, **server.environment(), "WANDB_DIR": str(tmp_path)}
        agent = [sys.executable, "-m", "wandb", "agent", "a-team/a-project/sw123456"]
        with subprocess.Popen(
            agent, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            wait_until(
                lambda: run.metrics.exists() and len(run.metrics.read_text().splitlines()) > 5, "steps", 300
            )
            run.stop.write_text("preempted")
            assert process.wait(500) == 0, process.stdout
        result = run.read_result()
        assert result is not None
        assert (result.status, len(run.attempt_numbers())) == ("completed", 2)
        assert [row["_step"] for row in server.history("aa11bb22")] == list(range(1, LONG + 1))

        again = {**environment, "WANDB_RUN_ID": "aa11bb22", "WANDB_SWEEP_ID": "sw123456"}
        again |= {"WANDB_PROJECT": "a-project", "WANDB_ENTITY": "a-team"}
        for more, code, said in (
            (("train.lr=1e-05", "batch.global=8"), 0, "is completed: there is nothing left to do"),
            (("train.lr=1e-04", "batch.global=8"), 2, "was started with another recipe"),
        ):
            done = subprocess.run(
                [*command, *more], cwd=tmp_path, env=again, capture_output=True, text=True, check=False
            )
            assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.long
def test_a_completed_run_has_tables_of_its_classes_and_mistakes(swept: tuple[WandbStub, Path]) -> None:
    server, directory = swept
    last = server.history("aa11bb22")[-1]
    tables = {
        name: json.loads(server.run("aa11bb22").files[value["path"]])
        for name, value in last.items()
        if isinstance(value, dict) and "path" in value
    }
    assert {"eval/classes", "eval/confusion_table", "eval/mistakes", "test/classes"} <= tables.keys()
    kept = json.loads((directory / "runs" / "aa11bb22" / "evaluated" / "validation.json").read_text())
    shown = [count for *_, count in tables["eval/confusion_table"]["data"]]
    assert shown == [count for row in kept["confusion"]["counts"] for count in row]
    texts = {tuple(mistake["text"]) for mistake in kept["mistakes"]}
    assert {(text,) for text, *_ in tables["eval/mistakes"]["data"]} == texts


def test_the_best_model_is_an_artifact(swept: tuple[WandbStub, Path]) -> None:
    server, directory = swept
    artifact = server.artifacts["12345678-model"]
    assert (artifact.kind, artifact.committed) == ("model", True)
    assert "best" in artifact.aliases
    model = RunDir(directory / "runs" / "12345678").model
    weights = (model / "model.safetensors").read_bytes()
    assert artifact.files["model.safetensors"] == weights


def test_a_workspace_has_panels_for_what_runs_record(swept: tuple[WandbStub, Path]) -> None:
    server, _ = swept
    sections = server.workspaces["launch"]["section"]["panelBankConfig"]["sections"]
    drawn = {
        section["name"]: [key for panel in section["panels"] for key in panel["config"]["metrics"]]
        for section in sections
    }
    assert list(drawn) == ["Loss", "Evaluation", "Speed", "Machines"]
    assert drawn["Evaluation"][:2] == ["eval/accuracy", "test/accuracy"]
    assert drawn["Machines"] == ["node/0/cpu_percent", "node/0/memory_percent"]
    recorded = {key for row in server.history("12345678") for key in row}
    assert set(drawn["Loss"] + drawn["Speed"]) <= recorded
    assert set(drawn["Evaluation"]) <= recorded


def test_a_run_that_an_agent_names_is_taken_up_where_its_recipe_is_the_same(tmp_path: Path) -> None:
    words = ["recipe=smoke", "executor=local", "device=cpu", "tracking.wandb.mode=disabled"]
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "aa11", "WANDB_PROJECT": "p", "WANDB_ENTITY": "e"}
    assert begun_by_agent(words, agent, tmp_path) is None
    prepared = prepare(words, agent, tmp_path)
    run = create(Path(prepared.plan.run_dir), prepared.files)
    assert begun_by_agent(words, agent, tmp_path) == run
    assert begun_by_agent([*words, "run_id=aa11"], agent, tmp_path) is None, "it is named by the command"
    assert begun_by_agent([*words, "run_id=aa11"], {}, tmp_path) is None
    with pytest.raises(UserError, match="was started with another recipe"):
        begun_by_agent([*words, "train.lr=0.5"], agent, tmp_path)


def test_variables_of_an_agent_are_keys_only_together(tmp_path: Path) -> None:
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "1e5", "WANDB_PROJECT": "p", "WANDB_ENTITY": "e"}
    loaded = load(["recipe=smoke"], environ=agent, cwd=tmp_path)
    wandb = loaded.recipe.tracking.wandb
    assert (loaded.recipe.run_id, wandb.sweep, wandb.project, wandb.entity) == ("1e5", "s1", "p", "e")
    assert loaded.origins["run_id"] == "environment WANDB_RUN_ID"
    alone = load(["recipe=smoke"], environ={"WANDB_RUN_ID": "r", "WANDB_PROJECT": "p"}, cwd=tmp_path)
    assert alone.recipe.run_id is None
    with pytest.raises(UserError, match="must be an id of W&B"):
        load(["recipe=smoke"], environ={**agent, "WANDB_SWEEP_ID": "a/b"}, cwd=tmp_path)


def test_what_a_user_tells_wandb_of_all_runs_counts_where_nothing_else_does(tmp_path: Path) -> None:
    usual = {"WANDB_PROJECT": "1e5", "WANDB_ENTITY": "me", "WANDB_TAGS": "one, two,", "WANDB_NOTES": "a, b"}
    words = ["recipe=smoke", "tracking.wandb.notes=mine"]
    loaded = load(words, environ={**usual, "LAUNCH_TRACKING__WANDB__TAGS": "[three]"}, cwd=tmp_path)
    wandb = loaded.recipe.tracking.wandb
    assert (wandb.project, wandb.entity, wandb.tags, wandb.notes) == ("1e5", "me", ("three",), "mine")
    assert loaded.origins["tracking.wandb.project"] == "environment WANDB_PROJECT"
    wandb = load(["recipe=smoke"], environ=usual, cwd=tmp_path).recipe.tracking.wandb
    assert (wandb.tags, wandb.notes) == (("one", "two"), "a, b")
    (tmp_path / "wandb").mkdir()  # as `wandb init` and `wandb offline` write it
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\nproject = p\nentity = e\n")
    (tmp_path / "r.yaml").write_text("task: classification\nmodel: {name: org/m}\ndata: {source: org/d}\n")
    loaded = load(["recipe=r.yaml"], environ={"WANDB_PROJECT": "q"}, cwd=tmp_path)
    wandb = loaded.recipe.tracking.wandb
    assert (wandb.mode, wandb.project, wandb.entity) == ("offline", "q", "e")
    assert loaded.origins["tracking.wandb.mode"] == "wandb/settings"
    with pytest.raises(UserError, match=r"environment WANDB_TAGS: tracking\.wandb\.tags.* 1 to 64"):
        load(["recipe=smoke"], environ={"WANDB_TAGS": "t" * 65}, cwd=tmp_path)
