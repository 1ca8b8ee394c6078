"""Reading results a step late changes when they are known, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import ROOT, Fault, RankServer, log, losses, make_run, metrics, recipe, result

from launcher.train.step import pending_steps
from launcher.train.step.pending_steps import PendingSteps, UnreadStep

CPU = torch.device("cpu")


def unread(step: int, asked: float = 0.0) -> UnreadStep:
    return UnreadStep(
        step, 0.1, 16, torch.tensor([step / 2, 7.0, 8.0, asked]).double(), torch.tensor(3.0), False
    )


def late(monkeypatch: pytest.MonkeyPatch) -> PendingSteps:
    monkeypatch.setitem(pending_steps.LAG, "cpu", 1)
    return PendingSteps(CPU)


def test_on_a_cpu_each_step_is_read_at_once() -> None:
    steps = PendingSteps(CPU)
    steps.add(unread(1))
    (found,) = steps.results(everything=False)
    assert (found.step, found.loss, found.tokens, found.padding, found.grad_norm) == (1, 0.5, 7.0, 0.125, 3.0)
    assert not steps


def test_late_results_come_in_order_and_all_of_them_before_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = late(monkeypatch)
    seen = []
    for step in (1, 2, 3):
        steps.add(unread(step))
        seen.append([found.step for found in steps.results(everything=step == 3)])
    assert seen == [[], [1], [2, 3]]


def test_a_request_to_stop_brings_in_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = late(monkeypatch)
    steps.add(unread(1, asked=1.0))
    steps.add(unread(2))
    assert [found.step for found in steps.results(everything=False)] == [1, 2]


SCRIPT = """
import sys
from launcher.train import __main__ as program
from launcher.train.step import pending_steps
pending_steps.LAG["cpu"] = 1
sys.exit(program.main(sys.argv[1:]))
"""


@pytest.mark.long
def test_a_late_run_records_the_same_steps(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted: dict[str, Any] = {"train": {"max_steps": 9}, "eval": {"every": 4}, "checkpoint": {"every": 3}}
    expected = ranks.complete(make_run(tmp_path / "expected", recipe(tiny_data, **wanted)))
    run = make_run(tmp_path / "run", recipe(tiny_data, **wanted))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(run.path)], cwd=ROOT, check=False)
    assert done.returncode == 0, log(run)
    assert losses(run) == losses(expected)
    assert metrics(run, "validation") == metrics(expected, "validation")
    assert result(run)["best"] == result(expected)["best"]


def test_a_run_that_diverges_fails_as_such(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """A learning rate that throws the weights to infinity."""
    wild = {"max_steps": 9, "lr": 1e30, "clip": None, "warmup": 0}
    run = make_run(tmp_path / "run", recipe(tiny_data, train=wild))
    assert ranks.attempt(run) == [1]
    assert result(run)["error"]["class"] == "diverged"


def test_every_rank_knows_the_step_at_which_it_diverged(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    """Rank 1 is the first to say so, and rank 0 has not reported that step yet."""
    wild = {"max_steps": 9, "lr": 1e30, "clip": None, "warmup": 0}
    run = make_run(tmp_path / "run", recipe(tiny_data, gpus=2, train=wild))
    assert ranks.attempt(run, 2, fault=Fault("dawdle", "step", 2)) == [1, 1]
    error = result(run)["error"]
    assert (error["class"], error["rank"]) == ("diverged", 1)
    assert error["message"].endswith("at step 2")
    assert (error["step"], result(run)["steps"]) == (2, 2)
