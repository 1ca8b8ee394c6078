"""A training started by the real `launch` command, for tests that do something to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

from support.waiting import wait_until

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

RECIPE = (
    "recipe=smoke",
    "executor=local",
    "device=cpu",
    "model.scratch.hidden=64",
    "model.scratch.layers=1",
    "model.scratch.vocab=200",
    "model.dropout.hidden=0.1",
    "data.max_length=24",
    "data.limit=200",
    "batch.global=16",
    "train.max_steps=150",
    "eval.every=50",
    "checkpoint.every=5",
    "tracking.wandb.mode=disabled",
)
STEPS = 150
"""Optimizer steps of RECIPE."""


class Training:
    """`launch ARGS` in the background, and the run that it trains."""

    def __init__(self, directory: Path, args: tuple[str, ...]) -> None:
        self.run = RunDir(directory / "runs" / "r")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *args],
            cwd=directory,
            env=dict(os.environ),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    def wait_for_step(self, step: int) -> None:
        """Return as soon as that step is recorded."""
        self.wait_until(lambda: self.steps() >= step, f"step {step}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            assert self._process.poll() is None, self._process.communicate()
            return condition()

        wait_until(holds, what, timeout_s=300)

    def kill(self, rank: int, signal: int) -> None:
        """Send a signal to the process of that rank."""
        os.kill(self.process_of(rank), signal)

    def process_of(self, rank: int) -> int:
        return {int(seen.get("RANK", "0")): pid for pid, seen in training_processes(self.run)}[rank]

    def script(self) -> int:
        """Process of job.sh."""
        return int((self.run.last_job() or "").removeprefix("local "))

    def torchrun(self) -> int:
        """Process of the torchrun that job.sh has started."""
        (child,) = Path(f"/proc/{self.script()}/task/{self.script()}/children").read_text().split()
        assert b"launcher.train.process.torchrun" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        return int(child)

    def end(self, code: int) -> str:
        """What was said until the command ended, which must be with that exit code."""
        out, err = self._process.communicate(timeout=300)
        assert self._process.returncode == code, out + err
        return err

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate(timeout=60)

    def steps(self) -> int:
        """Steps that are recorded."""
        return self.run.metrics.read_bytes().count(b"train/loss") if self.run.metrics.exists() else 0


def training_processes(run: RunDir) -> Iterator[tuple[int, dict[str, str]]]:
    """Process id and environment of each rank of this run that lives on this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                variables = os.fsdecode((entry / "environ").read_bytes()).split("\0")
            except OSError:
                continue
            environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
            is_agent = b"launcher.train.process.torchrun" in command
            if b"launcher.train" in command and not is_agent and os.fsencode(run.path) in command:
                yield int(entry.name), environment


def error_of(run: RunDir) -> dict[str, Any]:
    """The error that result.json of a failed run names."""
    result = read_json(run.result)
    assert result is not None
    assert result["status"] == "failed"
    error: dict[str, Any] = result["error"]
    return error
