"""Tiny trainings that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.training import RankServer, make_run, recipe
from support.wandb_stub import WandbStub

from launcher.runs.directory import RunDir


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, ranks: RankServer) -> RunDir:
    """A completed run of one rank with the tiny BERT; look, don't touch."""
    wanted = recipe(
        tiny_data, train={"lr": 3e-3, "max_steps": 60}, eval={"every": 20}, checkpoint={"every": 20}
    )
    return ranks.complete(make_run(tmp_path_factory.mktemp("tiny") / "run", wanted))


@pytest.fixture
def server(server: WandbStub) -> Iterator[WandbStub]:
    """The same, which knows everything that it is asked."""
    yield server
    assert server.unknown == []
