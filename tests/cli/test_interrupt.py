"""Stopping, killing and resuming a run on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

Launch = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
Trains = Callable[..., RunDir]
LONG = ("train.max_steps=100000", "eval.every=null", "checkpoint.every=null")


def test_stop_resume_and_kill(
    start: Start, launch: Launch, trains: Trains, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """One run through all of it, since each start of a run costs seconds of imports."""
    first = start(*tiny, *LONG, "run_id=r")
    run = trains(tmp_path / "runs")
    second = launch("resume", "r", code=2)
    assert "already has a job" in second.stderr

    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=120)
    assert (first.returncode, out) == (75, "r\n"), err
    assert "press Ctrl-C again to kill it" in err
    assert "r has saved its state and stopped after step" in err
    result = read_json(run.result)
    assert result is not None
    assert result["status"] == "stopped"
    stopped_at = result["steps"]

    resumed = start("resume", "r", "--json")
    trains(tmp_path / "runs", 2)
    state = json.loads(launch("status", "r", "--json").stdout)
    assert state["status"] == "running"
    assert state["step"] > stopped_at
    assert state["eta_s"] > 0
    stop = launch("stop", "r", "--wait", "--json")
    assert json.loads(stop.stdout) == {"run_id": "r", "status": "stopped"}
    out, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 75
    assert json.loads(out)["result"]["attempts"] == 2

    killed = start("resume", "r")
    trains(tmp_path / "runs", 3)
    launch("cancel", "r")
    out, err = killed.communicate(timeout=120)
    assert killed.returncode == 1
    assert "r was cancelled" in err
    assert "launch resume r" in err

    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


def test_a_second_interrupt_kills(
    start: Start, trains: Trains, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    process = start(*tiny, *LONG, "run_id=r")
    run = trains(tmp_path / "runs")
    # A rank that is halted can't save: only the second signal ends this run.
    ranks = _ranks(run)
    for pid in ranks:
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "press Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 1
    result = read_json(run.result)
    assert result is not None
    assert result["status"] == "cancelled"
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def _ranks(run: RunDir) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"launcher.train {run.path}"], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in found.stdout.split()]
