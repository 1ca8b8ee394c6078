"""Weights & Biases that goes away in the middle of a training, which neither notices nor loses anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE, STEPS, Training
from support.training import losses
from support.wandb_stub import WandbStub

from launcher.runs.records import read_json

Start = Callable[..., Training]
Undisturbed = Callable[[int], list[float]]


@pytest.fixture
def halted(start: Start, server: WandbStub) -> Training:
    """A training that stands still after a few steps, and whose run the server has just heard of."""
    training = start(*RECIPE[:-1], "tracking.wandb.mode=online", "gpus=1", "run_id=r")
    training.wait_for_step(10)
    training.kill(0, signal.SIGSTOP)
    server.wait_until(lambda: "UpsertBucket" in server.operations(), "the run to begin")
    return training


@pytest.mark.fault(20)
def test_the_server_dies_until_the_run_has_ended(
    start: Start, halted: Training, undisturbed: Undisturbed, server: WandbStub
) -> None:
    """W&B's client waits in vain, or gives up and is replaced by one that records offline: it is its own choice."""
    server.go_down()
    halted.kill(0, signal.SIGCONT)
    said = halted.end(code=0)
    assert "could not be sent in time" in said or "`launch sync r` sends it" in said
    assert (read_json(halted.run.result) or {})["status"] == "completed"
    assert losses(halted.run) == undisturbed(1)

    server.come_back()
    start("sync", "r").end(code=0)
    assert [row["_step"] for row in server.history("r")] == list(range(1, STEPS + 1))


@pytest.mark.fault(20)
def test_the_client_is_killed(halted: Training, undisturbed: Undisturbed, server: WandbStub) -> None:
    os.kill(client_of(halted), signal.SIGKILL)
    halted.kill(0, signal.SIGCONT)
    assert "starting it again" in halted.end(code=0)
    page = (read_json(halted.run.result) or {})["tracking"]["url"]
    assert page.endswith(f"/launcher/runs/{halted.run.run_id}")
    assert losses(halted.run) == undisturbed(1)
    assert [row["_step"] for row in server.history("r")] == list(range(1, STEPS + 1))


def client_of(training: Training) -> int:
    """Process of the W&B client beside a training."""
    job = os.fsencode(training.run.path / "wandb" / "tracker.json")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and job in (entry / "cmdline").read_bytes().split(b"\0"):
            return int(entry.name)
    raise AssertionError("no client")


@pytest.mark.fault(21)
def test_five_restarts_are_one_run_with_each_step_once(
    start: Start, undisturbed: Undisturbed, server: WandbStub, happened: Seen
) -> None:
    words = (*RECIPE[:-1], "tracking.wandb.mode=online", "gpus=1", "run_id=r")
    training = start(*words)
    for attempt in range(1, 6):
        training.wait_for_step(20 * attempt)
        os.kill(training.script(), signal.SIGKILL)
        training.end(code=1)
        training = start("resume", "r")
    training.end(code=0)
    assert training.run.attempt_numbers() == [1, 2, 3, 4, 5, 6]
    assert list(server.runs) == ["r"]
    assert losses(training.run) == undisturbed(1)
    history = [row for row in server.history("r") if "train/loss" in row]
    assert [row["_step"] for row in history] == list(range(1, STEPS + 1))
    assert [row["train/loss"] for row in history] == undisturbed(1)
    happened(
        "killed and started again five times: one W&B run, each of its steps once and with the loss of an undisturbed run"
    )
