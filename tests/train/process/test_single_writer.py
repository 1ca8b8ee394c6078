"""A run has one writer: an attempt that finds another at work leaves the run alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.training import ROOT, losses, make_run, recipe, result

from launcher.runs.directory import RunDir

IMPATIENT = """
import sys
from launcher.train import __main__ as program
from launcher.train.process import single_writer as writer
writer.PATIENCE_S = 1.0
sys.exit(program.main(sys.argv[1:]))
"""


def start(run: RunDir, attempt: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LAUNCHER_ATTEMPT": str(attempt)}
    return subprocess.Popen([sys.executable, "-c", IMPATIENT, str(run.path)], cwd=ROOT, env=environment)


@pytest.mark.long
def test_a_second_writer_is_refused(tmp_path: Path, tiny_data: Path) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data, train={"max_steps": 12}))
    first = start(run, 1)
    while not run.metrics.exists() or not run.metrics.read_bytes():
        assert first.poll() is None
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    assert start(run, 2).wait(timeout=300) == 1
    error = result(run)["error"]
    assert error["class"] == "launch"
    assert f"process {first.pid} on {os.uname().nodename} has locked" in error["message"]
    assert "end that process" in error["remedy"]

    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=300) == 0
    assert len(losses(run)) == 12


@pytest.mark.long
def test_a_writer_that_has_died_is_no_hindrance(tmp_path: Path, tiny_data: Path) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data, train={"max_steps": 12}))
    first = start(run, 1)
    while not run.metrics.exists() or not run.metrics.read_bytes():
        assert first.poll() is None
        time.sleep(0.001)
    first.kill()
    first.wait()
    assert start(run, 2).wait(timeout=300) == 0
    assert len(losses(run)) == 12
