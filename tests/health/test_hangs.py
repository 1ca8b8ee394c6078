"""Real trainings of two ranks in which something stops moving: it is named, ended in bounded time, and can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.launched import RECIPE, Training, error_of
from support.training import make_run, recipe, write_data
from support.waiting import wait_until

from launcher.health.records import read_nodes
from launcher.health.stalls import seen_from_outside
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

KEPT = [word for word in RECIPE if not word.startswith(("train.max_steps", "eval.every", "checkpoint.every"))]
WORDS = (*KEPT, "gpus=2", "run_id=r", "eval.every=null", "checkpoint.every=20")
ENDLESS = "train.max_steps=100000"
ENDS_AT_ONCE = """
import os, sys
from pathlib import Path
from launcher.runs.directory import RunDir
from launcher.train.process.heartbeat import start_watcher
run = RunDir(Path(sys.argv[1]))
start_watcher(run, run.attempt(1))
os._exit(0)
"""
Start = Callable[..., Training]


@pytest.fixture
def start(tmp_path: Path, slow_steps: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts `launch ARGS`; a training that makes no progress for so many seconds hangs."""
    started: list[Training] = []

    def _start(*args: str, hang_s: str) -> Training:
        monkeypatch.setenv("LAUNCHER_HANG_S", hang_s)
        started.append(Training(tmp_path, (*args, *slow_steps)))
        return started[-1]

    yield _start
    for training in started:
        training.close()


def status(run: RunDir) -> dict[str, Any]:
    command = [sys.executable, "-m", "launcher", "status", str(run.path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.long
@pytest.mark.fault(12)
def test_a_halted_rank_is_named_while_it_lasts_and_the_run_goes_on_without_anybody(start: Start) -> None:
    training = start(*WORDS, ENDLESS, hang_s="15")
    training.wait_for_step(25)
    run = training.run
    training.kill(1, signal.SIGSTOP)
    training.wait_until(lambda: seen_from_outside(run.attempt(1)) is not None, "a sign that nothing happens")
    stall = status(run)["stall"]
    assert (stall["rank"], stall["host"]) == (1, os.uname().nodename)
    assert "rank 1" in stall["sentence"]
    assert "halted by a signal" in stall["sentence"]

    training.wait_until(lambda: run.attempt_numbers() == [1, 2], "another attempt")
    error = (read_json(run.attempt(1).result) or {})["error"]
    assert (error["class"], error["rank"], error["host"]) == ("hang", 1, os.uname().nodename)
    assert error["step"] >= 24
    training.wait_until(lambda: "resuming from step_" in run.events.read_text(), "the attempt to resume")
    # The rank that waited has told what it was doing; the halted one could only be looked at from outside.
    assert "train/loop.py" in run.rank_log(0).read_text()
    assert "halted by a signal" in run.rank_log(1).read_text()


@pytest.mark.fault(12)
@pytest.mark.long
def test_a_pause_shorter_than_the_bound_is_none(start: Start) -> None:
    training = start(*WORDS, ENDLESS, hang_s="60")
    training.wait_for_step(5)
    training.kill(0, signal.SIGSTOP)
    training.wait_until(lambda: max(silences(training.run)) > 5, "five silent seconds")
    training.kill(0, signal.SIGCONT)
    training.wait_until(lambda: max(silences(training.run)) < 2, "more steps")
    assert not training.run.attempt(1).hang.exists()


def silences(run: RunDir) -> list[float]:
    """Seconds without progress by rank."""
    return [rank.silent_s for node in read_nodes(run.attempt(1)) for rank in node.ranks] or [0.0]


@pytest.mark.fault(12)
@pytest.mark.long
def test_a_halted_torchrun_does_not_keep_a_finished_run_open(start: Start) -> None:
    training = start(*WORDS, "train.max_steps=60", hang_s="5")
    training.wait_for_step(5)
    agent = training.torchrun()
    os.kill(agent, signal.SIGSTOP)
    training.end(code=0)
    result = training.run.read_result()
    assert result is not None
    assert (result.status, result.steps) == ("completed", 60)
    assert "torchrun on" in training.run.job_log("local").read_text()


@pytest.mark.long
def test_who_waits_for_a_killed_rank_is_ended_and_no_hang(start: Start) -> None:
    training = start(*WORDS, ENDLESS, hang_s="5")
    training.wait_for_step(5)
    training.kill(0, signal.SIGSTOP)  # as one that is stuck in NCCL: it can't be asked to end
    training.kill(1, signal.SIGKILL)
    training.end(code=1)
    error = error_of(training.run)
    assert (error["class"], error["rank"]) == ("killed", 1)
    assert not training.run.attempt(1).hang.exists()


@pytest.mark.long
def test_no_watcher_outlives_its_ranks(start: Start) -> None:
    training = start(*WORDS, ENDLESS, hang_s="off")
    training.wait_for_step(2)
    assert all(rank.bound_s is None for node in read_nodes(training.run.attempt(1)) for rank in node.ranks)
    os.kill(training.torchrun(), signal.SIGKILL)
    training.end(code=1)
    wait_until(lambda: not watchers(training.run), "the end of the watcher")


def test_a_rank_that_ends_at_once_leaves_no_watcher(tmp_path: Path) -> None:
    """It is gone before its watcher has started, and that one's parent is another process then."""
    run = make_run(tmp_path / "run", recipe(write_data(tmp_path / "data")))
    run.attempt(1).path.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", ENDS_AT_ONCE, str(run.path)], check=True)
    wait_until(lambda: not watchers(run), "the end of the watcher")


def watchers(run: RunDir) -> list[bytes]:
    """The command lines of those of a run."""
    mark = os.fsencode(run.path)
    commands = [_command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [command for command in commands if b"launcher.node\0watch\0" in command and mark in command]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
