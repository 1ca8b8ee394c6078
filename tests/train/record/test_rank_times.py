"""Real trainings of two ranks of which one is slow: by its own work, or because something else takes its core."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import RankServer, events, log, make_run, metrics, recipe

from launcher.report.run_page import page
from launcher.runs.directory import RunDir
from launcher.train.process.core_waits import core_time

STEPS = 70
RIVALLED = """
import os
import subprocess
import sys

import torch

SPIN = f"import os\\nwhile os.getppid() == {os.getpid()}: pass"
first = True


def loss(logits, labels):
    global first
    if first:
        first = False
        cores = sorted(os.sched_getaffinity(0))
        rank = int(os.environ["RANK"])
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
        if rank == 1:
            subprocess.Popen([sys.executable, "-c", SPIN])
            os.nice(10)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""
SLEEPY = """
import os
import time

import torch


def loss(logits, labels):
    if os.environ["RANK"] == "1":
        time.sleep(0.2)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""


def trained(path: Path, data: Path, ranks: RankServer, loss: str) -> RunDir:
    """A run of two ranks with a loss of its own."""
    train = {"max_steps": STEPS, "loss": {"name": "custom"}}
    run = make_run(path, recipe(data, gpus=2, zero={"stage": 0}, train=train))
    run.loss.write_text(loss)
    return ranks.complete(run, 2)


@pytest.mark.long
def test_a_rank_whose_core_something_else_takes_is_not_called_slow(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    if core_time() is None:
        pytest.skip("this kernel doesn't count")
    run = trained(tmp_path / "run", tiny_data, ranks, RIVALLED)
    named = {
        (times["slow"], times["part"]) for times in events(run, "step_times") if times["slow"] is not None
    }
    assert named == {(1, "cores")}, log(run)
    said = [notice["text"] for notice in events(run, "notice") if "rank 1" in notice["text"]]
    assert len(said) == 1
    assert "most of it waiting for free cores" in said[0]
    assert metrics(run)[-1]["perf/slowest_ratio"] < 1.3
    assert "was slow for" not in page([run], "1")


@pytest.mark.long  # health/test_stragglers.py has the rule
def test_a_rank_that_is_slow_by_itself_is_named(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run = trained(tmp_path / "run", tiny_data, ranks, SLEEPY)
    named = {(times["slow"], times["part"]) for times in events(run, "step_times")}
    assert named == {(1, "forward")}, log(run)
    assert metrics(run)[-1]["perf/slowest_ratio"] > 1.3
