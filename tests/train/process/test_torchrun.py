"""Ranks as torchrun starts them compute what the tests' quicker way of starting ranks computes, and stop when it is told to."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from support.training import RankServer, losses, make_run, recipe, result, tensors, torchrun


@pytest.mark.long  # cli/test_interrupt.py stops and resumes
def test_stopped_at_once_and_resumed_under_torchrun(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    wanted = recipe(tiny_data, gpus=2, train={"max_steps": 8}, eval={"every": None}, checkpoint={"every": 3})
    expected = ranks.complete(make_run(tmp_path / "expected", wanted), 2)

    run = make_run(tmp_path / "run", wanted)
    agent = torchrun(run, 2)
    while not run.events.exists() and agent.poll() is None:
        time.sleep(0.02)
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=300)
    assert run.attempt(1).exit_code.read_text() == "75\n"
    assert result(run)["status"] == "stopped"

    agent = torchrun(run, 2, number=2)
    output, _ = agent.communicate(timeout=300)
    assert agent.returncode == 0, output
    assert result(run)["status"] == "completed"
    assert losses(run) == losses(expected)
    # A rank's log is for people who look for a cause: an ordinary run has nothing to say.
    assert [run.rank_log(rank).read_text() for rank in range(2)] == ["", ""]
    found, wished = (tensors(each.checkpoints / "step_8") for each in (run, expected))
    assert all(found[name].equal(wished[name]) for name in wished)
