"""Stopping and cancelling come back whatever the run does, and say what they did and what is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.plans import new_run, plan_of, stand_in_python
from support.waiting import wait_until

from launcher.cli import waiting
from launcher.cli.app import cli
from launcher.errors import RunFailed
from launcher.executors import Executor, executor_for, local
from launcher.health.records import NodeHealth, RankHealth, write_node
from launcher.runs.directory import RunDir

DEAF = """
trap '' TERM INT
touch $run_dir/logs/ready
while true; do sleep 0.1; done
"""


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[tuple[Executor, RunDir]]:
    """A run that never does what it is asked for, whose rank 1 has stood still for long."""
    python = stand_in_python(tmp_path / "python", DEAF)
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "job", python=python))
    executor = executor_for("local")
    executor.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")
    there = RankHealth(0, "step", "gradients", 7, 95.0, None, "S")
    stuck = RankHealth(1, "step", "backward", 7, 95.0, None, "S")
    write_node(run.attempt(1), NodeHealth(0, "node3", time.time(), (there, stuck)))
    yield executor, run
    executor.cancel(run)


def test_stop_with_wait_comes_back_and_says_which_rank_stands_still(
    deaf: tuple[Executor, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = deaf
    monkeypatch.setattr(waiting, "LONGEST_S", 1.0)
    done = CliRunner().invoke(cli, ["stop", str(run.path), "--wait"])
    assert isinstance(done.exception, RunFailed)
    said = str(done.exception)
    assert f"job: job {run.last_job()} running, 1 s after it was asked to save and stop" in said
    assert "no step for 95 s: rank 1 on node3 is in backward" in said
    assert "launch cancel job kills it" in said


def test_status_says_so_while_it_lasts(deaf: tuple[Executor, RunDir]) -> None:
    _, run = deaf
    said = CliRunner().invoke(cli, ["status", str(run.path)]).output
    assert "stuck       no step for 95 s: rank 1 on node3 is in backward" in said
    listed = CliRunner().invoke(cli, ["status", f"--runs-dir={run.path.parent}"]).output
    assert "no step for 95 s: rank 1 on node3" in listed


def test_what_can_t_be_killed_is_told(deaf: tuple[Executor, RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in a system call that never returns; here it is one that no kill is sent to."""
    executor, run = deaf
    pid = int((run.last_job() or "").removeprefix("local "))
    monkeypatch.setattr(local, "END_TIMEOUT_S", 0.2)
    monkeypatch.setattr(local, "GIVE_UP_S", 0.5)
    os.kill(pid, signal.SIGSTOP)  # the script can't record its end
    with monkeypatch.context() as powerless:
        powerless.setattr("launcher.executors.shared.processes.kill_all", lambda _: None)
        with pytest.raises(RunFailed, match=rf"not gone yet: process {pid} \(stopped\)"):
            executor.cancel(run)
