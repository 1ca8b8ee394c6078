"""Trainings of the real command that something is done to: `make test-faults`, for `make test` leaves these out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.launched import RECIPE, STEPS, Training
from support.training import losses

from launcher.runs.directory import RunDir


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[float]]:
    """Losses of the training that nothing is done to, on that many ranks."""
    known: dict[int, list[float]] = {}

    def of(ranks: int) -> list[float]:
        if ranks not in known:
            directory = tmp_path_factory.mktemp("undisturbed")
            command = [sys.executable, "-m", "launcher", *RECIPE, f"gpus={ranks}", "run_id=whole"]
            subprocess.run(command, cwd=directory, check=True, capture_output=True)
            known[ranks] = losses(RunDir(directory / "runs" / "whole"))
            assert len(known[ranks]) == STEPS
        return known[ranks]

    return of


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    """Starts `launch ARGS` in the test's directory; what still runs is ended with the test."""
    started: list[Training] = []

    def _start(*args: str, directory: Path = tmp_path) -> Training:
        started.append(Training(directory, args))
        return started[-1]

    yield _start
    for training in started:
        training.close()
