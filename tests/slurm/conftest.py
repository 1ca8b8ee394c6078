"""A real Slurm for the tests in this directory."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import Cluster, FlatCluster, require_slurm, wait_until

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slurm")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes on loopback, without GPUs, shared by all tests: leave no job behind that holds a node."""
    require_slurm()
    with FlatCluster(tmp_path_factory.mktemp("cluster"), nodes=4, gpus=0) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _no_job_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails half-way must not keep the nodes of the shared cluster from the others."""
    yield
    if "cluster" in request.fixturenames:
        shared: Cluster = request.getfixturevalue("cluster")
        if shared.run(["squeue", "--noheader"]).stdout.strip():
            shared.run(["scancel", f"--user={getpass.getuser()}"])
            wait_until(lambda: not shared.run(["squeue", "--noheader"]).stdout.strip(), "an empty queue")
