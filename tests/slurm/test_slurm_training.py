"""Real trainings through the rendered batch script on several nodes of a real Slurm."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.launched import training_processes
from support.plans import new_run, plan_of
from support.slurm_cluster import NetnsCluster, require_slurm
from support.waiting import ended, wait_until

from launcher.executors.shared.base import Executor
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

pytestmark = pytest.mark.slow


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[Mapping[str, Any]], RunDir]:
    def make(recipe: Mapping[str, Any]) -> RunDir:
        data = {"cache_dir": str(tmp_path / "cache"), "limit": 800}
        return new_run(
            plan_of({"executor": "slurm", **recipe, "data": data}, run_dir=tmp_path / "runs" / "job")
        )

    return make


def report(run: RunDir) -> str:
    """Everything that was said, for a test that fails."""
    return "\n".join(
        f"== {path}\n{path.read_text(errors='replace')}" for path in sorted(run.logs.glob("*.log"))
    )


def steps(run: RunDir) -> list[int]:
    lines = run.metrics.read_text().splitlines() if run.metrics.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row["step"] for row in rows if "train/loss" in row]


def wait_for_step(executor: Executor, run: RunDir, step: int) -> None:
    def reached() -> bool:
        assert executor.state(run).active, report(run)
        return bool(steps(run)) and steps(run)[-1] >= step

    wait_until(reached, f"step {step}", timeout_s=300)


def worker_on(run: RunDir, node: int) -> int:
    """Process of the training on the node of that number, from 0."""
    [pid] = [pid for pid, seen in training_processes(run) if seen["SLURM_NODEID"] == str(node)]
    return pid


@pytest.mark.long  # the tutorial has four nodes, and test_slurm_losses.py ZeRO on nodes
def test_four_nodes_train_one_model_with_zero_2(
    slurm: Executor, make_run: Callable[[Mapping[str, Any]], RunDir]
) -> None:
    run = make_run({"nodes": 4, "zero": {"stage": 2}})
    slurm.start(run)
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("completed", 0), report(run)
    assert (read_json(run.result) or {})["status"] == "completed"
    assert steps(run) == [1, 2, 3, 4]
    assert (run.model / "config.json").exists()
    assert sorted(path.name for path in run.logs.glob("rank_*")) == [f"rank_{rank}.log" for rank in range(4)]


def test_a_run_is_killed_goes_on_by_itself_and_is_stopped_and_resumed_to_its_end(
    slurm: Executor, make_run: Callable[[Mapping[str, Any]], RunDir]
) -> None:
    run = make_run(
        {"nodes": 2, "train": {"max_steps": 400}, "checkpoint": {"every": 5}, "eval": {"every": None}}
    )
    slurm.start(run)
    wait_for_step(slurm, run, 6)
    os.kill(worker_on(run, 1), signal.SIGKILL)
    wait_until(lambda: run.attempt_numbers() == [1, 2], "the next attempt")
    error = (read_json(run.attempt(1).result) or {})["error"]
    killed_on = (read_json(run.attempt(1).record) or {})["hosts"][1]
    assert (error["class"], error["rank"], error["host"]) == ("killed", 1, killed_on), error

    wait_for_step(slurm, run, steps(run)[-1] + 2)
    slurm.stop(run)
    state = ended(slurm, run)
    assert (state.status, state.exit_code) == ("stopped", 75), report(run)
    assert steps(run)[-1] < 400

    slurm.start(run)
    assert ended(slurm, run).status == "completed", report(run)
    assert steps(run) == list(range(1, 401))
    assert (read_json(run.result) or {})["attempts"] == 3
    assert len(run.all_jobs()) == 2


@pytest.mark.long
def test_nodes_with_networks_of_their_own(
    tmp_path: Path, make_run: Callable[[Mapping[str, Any]], RunDir]
) -> None:
    require_slurm(netns=True)
    run = make_run({"nodes": 2})
    with NetnsCluster(tmp_path / "cluster", nodes=2) as cluster:
        cluster.run(["sbatch", "--wait", str(run.job_sbatch)], check=False, timeout_s=300)
    assert (read_json(run.result) or {}).get("status") == "completed", report(run)
    assert steps(run) == [1, 2, 3, 4]
