"""`launch reproduce`: bit for bit on this machine, with the code of then, and what it refuses to begin with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch

import launcher
from launcher.cli.reproduction import reproduction
from launcher.runs.directory import RunDir
from launcher.runs.provenance import code_digest, read_environment

PACKAGE = Path(launcher.__file__).parent
SMOKE = PACKAGE.parent / "recipes" / "smoke"


@pytest.fixture
def done(finished: tuple[RunDir, Any], tmp_path: Path) -> RunDir:
    """A copy of a completed run in the test's own directory, launched with the code as it is."""
    run = RunDir(tmp_path / "runs" / "done")
    shutil.copytree(finished[0].path, run.path)
    environment = json.loads(run.environment.read_text())
    environment["code"] = code_digest(PACKAGE)  # somebody may be working on it
    run.environment.write_text(json.dumps(environment))
    return run


@pytest.mark.usefixtures("done")
def test_a_run_comes_out_the_same_to_the_last_bit(launch: Launch, tmp_path: Path) -> None:
    environment = {"LAUNCH_TRAIN__LR": "0.5"}  # what overrides recipes has no say in a frozen one
    found = json.loads(launch("reproduce", "done", "--json", env=environment).stdout)
    assert found["passed"]
    assert found["runs"] == ["done", "done-again-1"]
    counts = {it["what"]: (it["same"], it["count"]) for it in found["results"]["findings"]}
    assert counts["training losses"] == (6, 6)
    assert counts["weights"][0] == counts["weights"][1] >= 1
    assert {entry["name"] for entry in found["recipe"]["entries"]} <= {
        "tracking.wandb.mode",
        "gpus",
        "device",
    }
    assert not (tmp_path / "runs" / ".code").exists()


@pytest.mark.long
def test_a_weight_that_differs_is_a_failure_that_says_where(launch: Launch, done: RunDir) -> None:
    weights = done.model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    said = launch("reproduce", "done", code=1)
    assert "FAIL" in said.stdout
    assert "model/model.safetensors: " in said.stdout


@pytest.mark.parametrize("python", ["a\0b", "\ud800", "/no/such/python"])
def test_a_python_of_the_plan_that_can_not_be_asked_is_passed_over(
    done: RunDir, tmp_path: Path, python: str
) -> None:
    for path in (done.plan, done.control / "rendered" / "plan.json"):
        plan = json.loads(path.read_text())
        plan["cluster"]["python"] = python
        path.write_text(json.dumps(plan))
    assert reproduction(done, [], tmp_path / "runs").words


def test_versions_data_and_place_that_differ_are_refused_together(
    launch: Launch, done: RunDir, tmp_path: Path
) -> None:
    environment = json.loads(done.environment.read_text())
    now = environment["packages"]["torch"]
    environment["packages"] |= {"torch": "2.0.1", "pytest": "1.0"}
    done.environment.write_text(json.dumps(environment))
    data = json.loads(done.data_used.read_text())
    data["files"][0]["sha256"] = "0" * 64
    data["files"][1]["path"] = str(tmp_path / "gone.csv")
    done.data_used.write_text(json.dumps(data))
    said = launch("reproduce", "done", code=2).stderr
    assert f"torch: {now} is installed, 2.0.1 was used\n      -> pip install torch==2.0.1" in said
    assert "pytest: " not in said, "it computes nothing"
    assert "is not what was trained on: its contents changed" in said
    assert "gone.csv: is no longer there" in said
    assert f"pip install --requirement {done.constraints}" in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["done"]

    accepted = launch("reproduce", "done", "--accept-differences")
    assert f"note: torch: {now} is installed, 2.0.1 was used" in accepted.stderr
    assert "PASS" in accepted.stdout


def test_data_that_were_moved_are_named_and_looked_at(launch: Launch, done: RunDir, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_text((SMOKE / "train.csv").read_text().replace("dreadful", "horrid"))
    said = launch("reproduce", "done", f"data.train={moved}", code=2).stderr
    assert "data.train: holds other data than the run's own" in said
    assert done.run_id in said


def test_a_model_of_a_hub_is_the_commit_that_was_trained(done: RunDir, tmp_path: Path) -> None:
    commit = "9f" * 20
    done.hub_model.write_text(json.dumps({"name": "me/tiny", "revision": "main", "commit": commit}))
    assert f'model.revision="{commit}"' in reproduction(done, (), tmp_path / "runs").words


def test_what_was_predicted_otherwise_is_no_difference(done: RunDir, tmp_path: Path) -> None:
    """A first plan didn't know the shape of a model that wasn't fetched yet, or how fast the machine is."""
    plan = json.loads(done.plan.read_text())
    before = plan["sharding"]
    plan["sharding"] = [] if before else [{"zero_stage": 0}]
    done.plan.write_text(json.dumps(plan))
    assert reproduction(done, (), tmp_path / "runs").differences == ()


@pytest.mark.parametrize("word", ["train.lr=1", "seed=2", "data.text=other", "nonsense"])
@pytest.mark.usefixtures("done")
def test_what_is_reproduced_is_not_changed(launch: Launch, word: str) -> None:
    said = launch("reproduce", "done", word, code=2).stderr
    assert "is part of what is reproduced" in said
    assert "run_id" in said


def test_what_never_completed_or_was_not_recorded_is_refused(launch: Launch, done: RunDir) -> None:
    shutil.rmtree(done.provenance)
    assert "its versions and data are not recorded" in launch("reproduce", "done", code=2).stderr
    result = json.loads(done.result.read_text())
    done.result.write_text(json.dumps({**result, "status": "stopped"}))
    said = launch("reproduce", "done", code=2).stderr
    assert "done: is stopped: only a completed run can be reproduced" in said
    assert "launch resume done completes it" in said


def git(directory: Path, *words: str) -> None:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *name, *words], cwd=directory, capture_output=True, check=True, timeout=60)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of the code as it is, of one commit."""
    home = tmp_path / "checkout"
    for name in ("launcher", "recipes", "slurm", "ds_configs"):
        left_out = shutil.ignore_patterns("__pycache__", "_data")
        shutil.copytree(PACKAGE.parent / name, home / name, ignore=left_out)
    git(home, "init", "-q")
    git(home, "add", "-f", ".")
    git(home, "commit", "-qm", "first")
    return home


@pytest.mark.long
@pytest.mark.slow
def test_the_code_of_then_is_laid_out_and_trains(
    checkout: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    def in_checkout(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-P", "-m", "launcher", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False
        )

    loop = checkout / "launcher" / "train" / "step" / "schedule.py"
    original = loop.read_text()
    loop.write_text(original + "\nCHANGED = True\n")
    assert in_checkout(*tiny, "train.max_steps=2", "run_id=then").returncode == 0
    run = RunDir(tmp_path / "runs" / "then")
    assert "+CHANGED = True" in run.code_patch.read_text()
    loop.write_text(original)
    before = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, check=True)

    done = in_checkout("reproduce", "then")
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
    then, again = read_environment(run), read_environment(RunDir(tmp_path / "runs" / "then-again-1"))
    assert then is not None
    assert again is not None
    assert then.code == again.code != code_digest(checkout / "launcher")
    after = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, check=True)
    assert before.stdout == after.stdout
    assert not (tmp_path / "runs" / ".code").exists()

    run.code_patch.write_text(run.code_patch.read_text().replace("CHANGED", "ANOTHER"))
    refused = in_checkout("reproduce", "then")
    assert refused.returncode == 2
    assert "commit and patch do not make the code that trained" in refused.stderr
