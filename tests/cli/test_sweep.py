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
    assert rows[0]["against_best"] is None
    assert rows[1]["against_best"]["seeds"] == 2
    assert rows[1]["against_best"]["p"] in (0.5, 1.0)
    assert "sign-flip permutation test" in launch("compare", plan["sweep"]).stdout
    launch("report", plan["sweep"])
    assert "Side by side" in (tmp_path / "report.html").read_text()


def test_what_is_asked_of_a_sweep_is_asked_of_its_trials(
    launch: Launch, start: Callable[..., subprocess.Popen[str]], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*tiny, "train.max_steps=100000", "checkpoint.every=null", "eval.every=null", "seed=1..3")
    runs = [RunDir(tmp_path / "runs" / f"s.seed{seed}") for seed in (1, 2, 3)]
    process = start("sweep", *words, "--name", "s")
    wait_until(lambda: runs[0].metrics.exists() and len(losses(runs[0])) > 2, "the first trial to train", 120)
    document = json.loads(launch("status", "s", "--json").stdout)
    assert [trial["values"] for trial in document["trials"]] == [{"seed": seed} for seed in (1, 2, 3)]
    assert document["counts"] == {"running": 1, "unknown": 2}
    launch("stop", "s", "--wait")
    assert process.wait(60) == 75
    assert not runs[1].metrics.exists()
    assert "1 stopped, 2 unknown" in launch("status", "s").stdout
    assert "s.seed1" in launch("status").stdout
    assert "has no trial that is running" in launch("cancel", "s", code=2).stderr
    assert "name one: s.seed1, s.seed2, s.seed3" in launch("logs", "s", code=2).stderr
    assert "no trial with an evaluated model" in launch("compare", "s", code=2).stderr

    again = start("resume", "s")
    done = len(losses(runs[0]))
    wait_until(lambda: len(losses(runs[0])) > done, "the first trial to go on", 120)
    launch("cancel", "s")
    assert again.wait(60) == 75
    assert launch("status", "s").stdout.splitlines()[-1] == "3 trials: 1 cancelled, 2 unknown"


def test_the_best_recipe_starts_a_run(launch: Launch, tiny: tuple[str, ...], tmp_path: Path) -> None:
    launch("sweep", *tiny, "train.max_steps=3", "train.lr=1e-3,1e-2", "--name", "s")
    rows = json.loads(launch("compare", "s", "--json").stdout)["rows"]
    best = launch("compare", "s", "--best").stdout
    assert best.startswith(f"# {rows[0]['runs'][0]}: ")
    (tmp_path / "best.yaml").write_text(best)
    launch("recipe=best.yaml", "run_id=again")
    assert losses(RunDir(tmp_path / "runs" / "again")) == losses(
        RunDir(tmp_path / "runs" / rows[0]["runs"][0])
    )
    document = json.loads(launch("compare", "s", "--best", "--json").stdout)
    assert (document["run"], document["recipe"]["run_id"]) == (rows[0]["runs"][0], None)


def test_seeds_of_a_run_are_a_sweep_of_one_point(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    done = json.loads(launch(*tiny, "train.max_steps=3", "seeds=2", "--json").stdout)
    assert set(done["trials"].values()) == {"completed"}
    assert [run_id.partition(".")[2] for run_id in done["trials"]] == ["seed1", "seed2"]
    rows = json.loads(launch("compare", done["sweep"], "--json").stdout)["rows"]
    assert [row["seeds"] for row in rows] == [[1, 2]]
    for wrong in ("seeds=1", "seeds=x", "seeds=2 seed=3", "seeds=2 run_id=x", "seeds=2 seeds=3"):
        launch(*tiny, *wrong.split(), code=2, cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("*.seed*"))) == 2


def test_a_trial_that_fails_holds_no_other_up(launch: Launch, tiny: tuple[str, ...]) -> None:
    result = launch("sweep", *tiny, "train.max_steps=3", "train.lr=1e-3,1e18", "--json", code=1)
    assert sorted(json.loads(result.stdout)["trials"].values()) == ["completed", "failed"]
