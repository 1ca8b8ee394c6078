"""Runs for the tests of the command line: few that train, most of them only planned."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of, stand_in_python
from support.waiting import wait_until
from support.words import SMALLEST

from launcher.runs.directory import RunDir
from launcher.runs.events import Step, read_events

TINY = (*SMALLEST, "executor=local", "model.scratch.intermediate=32", "tracking.wandb.mode=disabled")
DEADLINE_S = 240


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """A run of a few seconds: most of them are imports."""
    return TINY


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `launch ARGS` in the test's own directory and return the process; what is left at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(*args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *map(str, args)],
            cwd=tmp_path,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, subprocess.CompletedProcess[str]]:
    """A completed run named `done`, made where the umask takes nothing away, and what `launch` said meanwhile."""
    directory = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "launcher", *TINY, "train.max_steps=6", "run_id=done"]
    done = subprocess.run(
        command, cwd=directory, umask=0, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return RunDir(directory / "runs" / "done"), done


@pytest.fixture
def planned(launch: Callable[..., Any], tmp_path: Path) -> Callable[[str], RunDir]:
    """Make a run directory of which no job was ever started."""

    def make(run_id: str, *words: str) -> RunDir:
        directory = tmp_path / "runs" / run_id
        launch("plan", *TINY, f"run_id={run_id}", *words, "--out", directory)
        for name in ("attempts", "checkpoints", "logs", "control"):
            (directory / name).mkdir()
        return RunDir(directory)

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDir]:
    """A run directory on this machine of which no job was started yet: `launch resume` starts it.

    The shell lines `training` stand in for the training.
    """

    def make(training: str = "true", run_id: str = "r") -> RunDir:
        python = stand_in_python(tmp_path / f"python-{run_id}", training)
        return new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / run_id, python=python))

    return make


@pytest.fixture
def trains() -> Callable[[Path, int], RunDir]:
    """Wait until the only run in a directory has done a step in this attempt."""

    def wait(runs_dir: Path, attempt: int = 1) -> RunDir:
        run = RunDir(wait_until(lambda: next(iter(runs_dir.glob("[!.]*")), None), "a run directory"))

        def steps() -> bool:
            return any(event.attempt == attempt for event in read_events(run.events, Step))

        wait_until(steps, f"a step of attempt {attempt}")
        return run

    return wait
