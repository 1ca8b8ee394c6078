"""Something that only one of two ranks meets: an exception, or a file system that doesn't show it what the other sees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.fault_rows import Seen
from support.training import Fault, RankServer, events, log, losses, make_run, recipe, result

from launcher.runs.directory import RunDir
from launcher.train.process.random_state import dropout_seed

STEPS = 18
LOSS = """
import torch

def loss(logits, labels):
    if torch.initial_seed() == {seed}:
        raise ValueError("no such label: 7")
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
"""


def wanted(data: Path, **changes: Any) -> Any:
    usual = {"gpus": 2, "zero": {"stage": 0}, "train": {"max_steps": STEPS}, "checkpoint": {"every": 5}}
    return recipe(data, **{**usual, **changes})


@pytest.mark.fault(13)
@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_on_one_rank_is_named_with_its_rank_and_step(
    rank: int, tmp_path: Path, tiny_data: Path, ranks: RankServer, happened: Seen
) -> None:
    bad = wanted(tiny_data, train={"max_steps": STEPS, "loss": {"name": "custom"}})
    run = make_run(tmp_path / "run", bad)
    run.loss.write_text(LOSS.format(seed=dropout_seed(bad.seed, 7, rank)))
    assert ranks.attempt(run, 2) == [1, 1]
    error = result(run)["error"]
    assert (error["class"], error["rank"], error["step"]) == ("code", rank, 7), log(run)
    assert error["message"] == "ValueError: no such label: 7"
    assert "--accept-changes" in error["remedy"]
    happened(f"rank {rank} and the 7 steps before it were named, and the words of the exception quoted")


def killed_at_16(tmp_path: Path, data: Path, ranks: RankServer) -> RunDir:
    """A run whose newest checkpoint is that of step 15."""
    run = make_run(tmp_path / "run", wanted(data))
    assert -9 in ranks.attempt(run, 2, 1, Fault("kill", "step", 16))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_10", "step_15"]
    return run


@pytest.mark.fault(19)
def test_a_rank_that_never_sees_the_checkpoint_fails_by_name(
    tmp_path: Path, tiny_data: Path, ranks: RankServer, happened: Seen
) -> None:
    needs_mounts()
    expected = ranks.complete(make_run(tmp_path / "expected", wanted(tiny_data)), 2)
    run = killed_at_16(tmp_path, tiny_data, ranks)
    assert ranks.attempt(run, 2, 2, Fault("hide", "start", 15, rank=1)) == [1, 1]
    error = result(run)["error"]
    assert (error["class"], error["rank"]) == ("storage", 1), log(run)
    assert "rank 1 doesn't see step_15, from which rank 0 goes on" in error["message"]
    assert {event["attempt"] for event in events(run, "step")} == {1}, "somebody has trained"
    ranks.complete(run, 2, 3)
    assert losses(run) == losses(expected)
    happened(
        "rank 1 failed by name, nobody trained, and the next attempt came to the same losses", steps_lost=0
    )


@pytest.mark.fault(18, 19)
def test_a_checkpoint_that_one_rank_sees_later_is_waited_for(
    tmp_path: Path, tiny_data: Path, ranks: RankServer, happened: Seen
) -> None:
    needs_mounts()
    expected = ranks.complete(make_run(tmp_path / "expected", wanted(tiny_data)), 2)
    run = killed_at_16(tmp_path, tiny_data, ranks)
    codes = ranks.attempt(run, 2, 2, Fault("hide", "start", 15, rank=1, after_s=4.0))
    assert codes == [0, 0], log(run)
    assert losses(run) == losses(expected)
    happened("a checkpoint that rank 1 saw seconds later was waited for; the same losses", steps_lost=1)


def needs_mounts() -> None:
    if os.geteuid() != 0:
        pytest.skip("hiding files from one process needs root")
