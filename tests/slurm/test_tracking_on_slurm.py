"""Weights & Biases on a real Slurm: requeued again and again, cut off, and sent from a login node while it trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster
from support.waiting import wait_until
from support.wandb_stub import WandbStub
from support.words import SMALLEST

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines

TINY = (*SMALLEST, "gpus=1", "eval.every=100", "checkpoint.every=20", "tracking.wandb.mode=auto")


@pytest.fixture
def server() -> Iterator[WandbStub]:
    with WandbStub() as stub:
        yield stub


@pytest.fixture
def environment(server: WandbStub, cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    private = {"NETRC": str(tmp_path / "no-netrc"), "WANDB_CONFIG_DIR": str(tmp_path / "no-config")}
    return {**os.environ, **cluster.env, **server.environment(), **private}


def steps(run: RunDir) -> int:
    return sum("split" not in row for row in read_json_lines(run.metrics)) if run.metrics.exists() else 0


def requeue(cluster: Cluster, run: RunDir) -> None:
    """As before a time limit: it is warned, saves, and starts again, without the two minutes that Slurm waits."""
    job, attempts = str(run.last_job()), len(run.attempt_numbers())
    cluster.run(["scancel", "--signal=USR1", "--batch", job])
    is_pending = ["squeue", "--noheader", "--states=PENDING", f"--jobs={job}"]
    wait_until(lambda: bool(cluster.run(is_pending, check=False).stdout), "the job to wait again", 120)
    cluster.run(["sleep", "2.1"])
    cluster.run(["scontrol", "update", f"jobid={job}", "StartTime=now"])
    wait_until(lambda: len(run.attempt_numbers()) > attempts, "its next attempt", 120)


def requeue_and_train(cluster: Cluster, run: RunDir) -> None:
    requeue(cluster, run)
    done = steps(run)
    wait_until(lambda: steps(run) > done + 5, "the next attempt to train", 240)


def as_shown(run: RunDir) -> dict[int, dict[str, Any]]:
    """metrics.jsonl as W&B shows it: what belongs to a step is one row."""
    rows: dict[int, dict[str, Any]] = {}
    for line in read_json_lines(run.metrics):
        prefix = "test/" if line.get("split") == "test" else "eval/"
        figures = {
            key.replace("eval/", prefix): value
            for key, value in line.items()
            if isinstance(value, int | float)
        }
        rows.setdefault(figures.pop("step"), {}).update(figures)
    return rows


@pytest.mark.long  # train/record/test_tracking.py has each of these by itself
def test_requeues_an_outage_and_a_sync_while_it_trains_make_one_curve(
    launch: Launch,
    cluster: Cluster,
    server: WandbStub,
    environment: dict[str, str],
    slow_steps: tuple[str, str],
    tmp_path: Path,
) -> None:
    """Requeued once while W&B answers, once while it doesn't, and three times while a login node sends."""
    launch("run", *TINY, *slow_steps, "train.max_steps=1000000", "run_id=r", env=environment)
    run = RunDir(tmp_path / "runs" / "r")
    wait_until(lambda: steps(run) > 5, "it to train", 240)
    server.wait_until(lambda: "r" in server.runs, "W&B to know it", 120)
    requeue_and_train(cluster, run)
    server.go_down()
    requeue(cluster, run)
    wait_until(lambda: bool(list(run.path.glob("wandb/offline-run-*"))), "the next to be offline", 240)
    server.come_back()

    command = [sys.executable, "-m", "launcher", "sync", "r", "--follow", "--json"]
    login_node = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE)
    try:
        wait_until((run.path / "wandb" / "sender").exists, "the login node to send", 120)
        for _ in range(3):
            requeue_and_train(cluster, run)
        launch("stop", "r", "--wait", env=environment)
        out, _ = login_node.communicate(timeout=180)
    finally:
        if login_node.poll() is None:
            login_node.send_signal(signal.SIGKILL)
            login_node.communicate()
    (sent,) = json.loads(out)["runs"]
    assert sent["ended"]

    assert len(run.attempt_numbers()) == 6
    last = steps(run)
    history = server.history("r")
    assert [row["_step"] for row in history] == list(range(1, last + 1))
    expected = as_shown(run)
    for row in history:
        shown = {key: value for key, value in row.items() if not key.startswith(("_", "node/"))}
        assert shown == expected[row["_step"]], row["_step"]
    assert list(server.runs) == ["r"]
    told = "launch sync (process" in run.events.read_text()
    assert told, "an attempt that starts meanwhile says who sends"
    assert json.loads(launch("sync", "r", "--json", env=environment).stdout)["runs"][0]["rows"] == 0
