"""A real Slurm for the tests in this directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster, FlatCluster, mend, require_slurm

from launcher.executors import Executor, executor_for

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slurm")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes on loopback, without GPUs, shared by all tests: put back what you change of it."""
    require_slurm()
    with FlatCluster(tmp_path_factory.mktemp("cluster"), nodes=4, gpus=0) as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """The executor, talking to the tests' cluster."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    return executor_for("slurm")


@pytest.fixture
def on_slurm(launch: Launch, cluster: Cluster) -> Launch:
    """`launch` with this cluster's sbatch on PATH and configured."""
    env = {**os.environ, **cluster.env}
    return lambda *args, **options: launch(*args, env=env, **options)


@pytest.fixture(autouse=True)
def _cluster_is_left_whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test must not keep the nodes of the shared cluster from the others, whatever it does to them or how it fails."""
    yield
    if "cluster" in request.fixturenames and (broken := mend(request.getfixturevalue("cluster"))):
        pytest.fail(f"the test has broken the shared cluster, which is mended: {'; '.join(broken)}")
