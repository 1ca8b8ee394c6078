"""`launch drill` on nodes that are machines of their own: what was done to the jobs, and that it changed nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import NetnsCluster, require_slurm
from support.waiting import wait_until

from launcher.runs.drills import Drill
from launcher.runs.records import make

WORDS = (
    "recipe=smoke",
    "nodes=2",
    "gpus=1",
    "device=cpu",
    "model.scratch.hidden=32",
    "model.scratch.layers=1",
    "model.scratch.vocab=200",
    "data.max_length=24",
    "data.limit=200",
    "batch.global=16",
)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetnsCluster]:
    """Three nodes, each with a network, host name, processes and mounts of its own."""
    require_slurm(netns=True)
    with NetnsCluster(tmp_path_factory.mktemp("machines"), nodes=3) as cluster:
        yield cluster


def drill(machines: NetnsCluster, place: Path, *words: str) -> tuple[Drill, str]:
    """The record of a drill, and what was said."""
    command = [sys.executable, "-m", "launcher", "drill", *WORDS, "--steps", "40", "--json", *words]
    done = machines.run(command, cwd=place, check=False, timeout_s=2400)
    assert done.returncode in (0, 1), done
    return make(Drill, json.loads(done.stdout), "drill.json"), done.stderr


def node_states(machines: NetnsCluster) -> list[str]:
    columns = ["--noheader", "--Node", "--partition=main", "--format=%T"]
    return machines.run(["sinfo", *columns]).stdout.split()


@pytest.mark.slow
@pytest.mark.long
def test_nothing_that_is_done_to_a_job_changes_what_it_comes_to(
    machines: NetnsCluster, tmp_path: Path
) -> None:
    found, said = drill(machines, tmp_path, "--faults", "stop,kill,hang,node,disk,world")
    assert found.passed, (found, said)
    assert (found.executor, found.world_size) == ("slurm", 2)
    done = {run.way: run.injected for run in found.runs}
    assert done["hang"].startswith("SIGSTOP to rank")
    assert done["node"].endswith("the node was taken down, and given back once Slurm had ended the job")
    assert "bytes can be written" in done["disk"]
    assert "from 2 ranks to 1" in done["world"]
    wait_until(lambda: node_states(machines) == ["idle"] * 3, "all nodes to be given back", 120)
    assert machines.run(["squeue", "--noheader", "--states=pending,running"]).stdout == ""


@pytest.mark.slow
@pytest.mark.long
def test_a_bit_that_is_changed_on_purpose_is_named(machines: NetnsCluster, tmp_path: Path) -> None:
    found, said = drill(machines, tmp_path, "--faults", "stop", "--plant")
    [run] = found.runs
    assert not found.passed, said
    assert run.planted is not None
    assert run.planted.startswith("one bit of element")
    assert run.first_step is not None
    assert run.first_step.step > run.resumed_from
    assert run.first_tensor is not None
    assert (tmp_path / "drill.html").exists()
