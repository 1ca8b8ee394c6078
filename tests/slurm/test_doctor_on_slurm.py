"""`launch doctor --cluster` on a real Slurm: every node that is free is looked at, the others are named, nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Launch
from support.slurm_cluster import Cluster
from support.waiting import wait_until

DOCTOR = ("doctor", "--cluster")


@pytest.fixture
def one_drained_one_busy(cluster: Cluster) -> Iterator[None]:
    """node1 and node2, in this order."""
    cluster.run(["scontrol", "update", "nodename=node1", "state=drain", "reason=fan broken"])
    alone = [
        "sbatch",
        "--parsable",
        "--exclusive",
        "--nodelist=node2",
        "--output=/dev/null",
        "--wrap=sleep 600",
    ]
    job = cluster.run(alone).stdout.strip()
    show = ["scontrol", "-o", "show", "job", job]
    wait_until(lambda: "JobState=RUNNING" in cluster.run(show).stdout, "node2 to be busy")
    yield
    cluster.run(["scancel", job])
    cluster.run(["scontrol", "update", "nodename=node1", "state=resume"])


def profile(tmp_path: Path, line: str) -> str:
    (tmp_path / "site.yaml").write_text(f"partition: main\nsetup:\n  - {json.dumps(line)}\n")
    return f"--profile={tmp_path / 'site.yaml'}"


def queue(cluster: Cluster) -> list[str]:
    return cluster.run(["squeue", "--noheader", "--format=%j %T"]).stdout.splitlines()


@pytest.mark.slow
@pytest.mark.usefixtures("one_drained_one_busy")
def test_free_nodes_are_looked_at_and_the_others_named(
    on_slurm: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "torch-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    site = profile(
        tmp_path, f"if [[ $SLURMD_NODENAME == node4 ]]; then export PYTHONPATH={other.parent}:$PYTHONPATH; fi"
    )
    before = sorted(tmp_path.iterdir())
    found = json.loads(on_slurm(*DOCTOR, site, "--json", code=1).stdout)
    nodes = {node["name"]: node for node in found["nodes"]}
    assert [node["name"] for node in found["nodes"]] == ["node4", "node1", "node2", "node3"]
    assert {name: node["state"] for name, node in nodes.items()} == {
        "node1": "away",
        "node2": "busy",
        "node3": "ok",
        "node4": "failed",
    }
    assert (found["ok"], nodes["node1"]["why"]) == (False, "drained: fan broken")
    assert (nodes["node4"]["checks"]["versions"], nodes["node4"]["checks"]["network"]) == ("failed", "ok")
    [finding] = nodes["node4"]["findings"]
    assert finding["text"].startswith("torch 9.9, where others have ")

    said = on_slurm(*DOCTOR, "--nodes", "node[1,3]").stdout
    rows = [line.split()[:2] for line in said.splitlines()]
    assert rows[1:3] == [["node1", "away"], ["node3", "ok"]]
    assert "not looked at  node1: drained: fan broken" in said
    assert "1 of 2 nodes looked at, 0 failed" in said
    assert "0 of 2 nodes looked at" in on_slurm(*DOCTOR, "--nodes", "node1,node2", code=1).stdout
    assert sorted(tmp_path.iterdir()) == before
    assert not any(line.startswith("launch-doctor") for line in queue(cluster))


def test_what_is_no_node_is_a_mistake(on_slurm: Launch) -> None:
    assert "Slurm knows no nodes node9" in on_slurm(*DOCTOR, "--nodes=node9", code=2).stderr
    assert "--nodes goes with --cluster" in on_slurm("doctor", "--nodes=node1", code=2).stderr


@pytest.mark.slow
def test_ctrl_c_ends_its_job_and_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    site = profile(tmp_path, "sleep 1000")
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "launcher", *DOCTOR, site]
    env = {**os.environ, **cluster.env}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as doctor:
        wait_until(lambda: any(line.endswith("RUNNING") for line in queue(cluster)), "its job", timeout_s=120)
        doctor.send_signal(signal.SIGINT)
        doctor.communicate(timeout=120)
    assert doctor.returncode == 130
    wait_until(lambda: queue(cluster) == [], "the end of its job", timeout_s=120)
    assert sorted(tmp_path.iterdir()) == before


def test_without_slurm_it_says_so(launch: Launch) -> None:
    done = launch(*DOCTOR, env={**os.environ, "PATH": "/nowhere"}, code=2)
    assert "Slurm does not answer" in done.stderr
