"""`launch sweep` on this machine: real trainings, interrupted, continued and compared."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.slurm_cluster import wait_until

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines

Launch = Callable[..., Any]
pytestmark = pytest.mark.slow


def losses(run: RunDir) -> list[float]:
    return [row["train/loss"] for row in read_json_lines(run.metrics) if "split" not in row]


def test_a_grid_is_interrupted_continued_extended_and_compared(
    launch: Launch, start: Callable[..., subprocess.Popen[str]], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*tiny, "train.max_steps=40", "checkpoint.every=5", "eval.every=20")
    grid = (*words, "train.lr=1e-3,1e-2", "seed=1,2")
    plan = json.loads(launch("sweep", *grid, "--plan", "--json").stdout)
    assert [trial["values"] for trial in plan["trials"]] == [
        {"train.lr": lr, "seed": seed} for lr in (0.001, 0.01) for seed in (1, 2)
    ]
    runs = [RunDir(tmp_path / "runs" / trial["run_id"]) for trial in plan["trials"]]

    process = start("sweep", *grid)
    wait_until(lambda: runs[0].metrics.exists() and len(losses(runs[0])) > 5, "the first trial to train", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 75
    assert not runs[3].result.exists()

    done = json.loads(launch("sweep", *grid, "--parallel", 2, "--json").stdout)
    assert set(done["trials"].values()) == {"completed"}
    launch("run", *words, "train.lr=1e-3", "seed=1", "run_id=alone")
    assert losses(runs[0]) == losses(RunDir(tmp_path / "runs" / "alone"))
    assert len(losses(runs[0])) == 40

    again = launch("sweep", *words, "train.lr=1e-3,1e-2", "seed=1..2", "--json")
    assert "started" not in again.stderr
    rows = json.loads(launch("compare", plan["sweep"], "--json").stdout)["rows"]
    assert [len(row["runs"]) for row in rows] == [2, 2]
    launch("report", plan["sweep"])
    assert "Side by side" in (tmp_path / "report.html").read_text()


def test_a_trial_that_fails_holds_no_other_up(launch: Launch, tiny: tuple[str, ...]) -> None:
    result = launch("sweep", *tiny, "train.max_steps=3", "train.lr=1e-3,1e18", "--json", code=1)
    assert sorted(json.loads(result.stdout)["trials"].values()) == ["completed", "failed"]
