"""Ranks that stand still or are slow, on a real Slurm: found out and named by their nodes, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster, processes_of
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.health.stalls import seen_from_outside
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json, read_json_lines

WORDS = (
    *SMALLEST,
    "nodes=2",
    "gpus=1",
    "eval.every=null",
    "checkpoint.every=10",
    "tracking.wandb.mode=disabled",
    "run_id=r",
)
LOSS = """
import os
import time

import torch

calls = 0


def loss(logits, labels):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and os.environ["LAUNCHER_ATTEMPT"] == "1" and calls == 15:
        time.sleep(3600)
    if os.environ["RANK"] == "1" and os.environ["LAUNCHER_ATTEMPT"] == "2":
        time.sleep(0.3)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""


@pytest.fixture
def on_slurm(launch: Launch, cluster: Cluster) -> Launch:
    """`launch` with this cluster's sbatch on PATH; a training that makes no progress for 10 seconds hangs."""
    env = {**os.environ, **cluster.env, "LAUNCHER_HANG_S": "10"}
    return lambda *args, **options: launch(*args, env=env, **options)


@pytest.fixture
def started(on_slurm: Launch, cluster: Cluster, tmp_path: Path) -> Iterator[RunDir]:
    """A run whose rank 1 falls asleep in its first attempt, and is slow in the second."""
    (tmp_path / "loss.py").write_text(LOSS)
    on_slurm(*WORDS, "train.max_steps=70", "--loss-file", tmp_path / "loss.py")
    yield RunDir(tmp_path / "runs" / "r")
    cluster.run(["scancel", "--signal=KILL", "--me"], check=False)


def status(on_slurm: Launch) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(on_slurm("status", "r", "--json").stdout)
    return document


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.fault(12)
def test_a_rank_that_sleeps_in_a_step_is_named_and_the_run_completes_by_itself(
    on_slurm: Launch, started: RunDir
) -> None:
    wait_until(lambda: seen_from_outside(started.attempt(1)) is not None, "the rank to be named", 240)
    host = started.attempt(1).read().hosts[1]
    assert f"rank 1 on {host} is in forward" in on_slurm("status", "r").stdout

    wait_until(lambda: (read_json(started.result) or {}).get("status") == "completed", "the end", 400)
    error = (read_json(started.attempt(1).result) or {})["error"]
    assert (error["class"], error["rank"], error["host"]) == ("hang", 1, host)
    assert 'loss.py", line' in started.rank_log(1).read_text()
    assert "gradient_buckets.py" in started.rank_log(0).read_text()
    result = started.read_result()
    assert result is not None
    assert (result.steps, result.attempts) == (70, 2)
    steps = [row["step"] for row in read_json_lines(started.metrics) if "split" not in row]
    assert steps == list(range(1, 71))

    # What it lost to sleep in each step is named too: in status, metrics and the log.
    times = status(on_slurm)["step_times"]
    assert (times["slow"], times["host"], times["part"]) == (1, host, "forward")
    last = [row for row in read_json_lines(started.metrics) if "split" not in row][-1]
    assert (last["perf/slowest_rank"], last["perf/slowest_ratio"] > 1.3) == (1, True)
    assert f"rank 1 on {host} is" in on_slurm("logs", "r").stdout


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.fault(12)
def test_a_node_that_stands_still_is_named_by_the_others(
    on_slurm: Launch, cluster: Cluster, started: RunDir
) -> None:
    def attempts() -> list[int]:
        return started.attempt_numbers()

    wait_until(
        lambda: started.metrics.exists() and started.metrics.read_text().count("\n") >= 5, "steps", 240
    )
    halted = [pid for pid in processes_of(cluster.directory) if is_of_node(pid, 1)]
    for pid in halted:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: len(attempts()) == 2, "another attempt", 240)
    finally:
        for pid in halted:
            _continue(pid)
    error = (read_json(started.attempt(1).result) or {})["error"]
    assert (error["class"], error["rank"]) == ("hang", 1)
    on_slurm("cancel", "r")


def is_of_node(pid: int, number: int) -> bool:
    """Whether a process is torchrun, a rank or a watcher on that node of its job."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"launcher." in command and f"LAUNCHER_NODE={number}".encode() in environment


def _continue(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return
