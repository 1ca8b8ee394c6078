"""The development cluster for tests: import `FlatCluster` and `NetnsCluster` from here."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

SLURM = Path(__file__).resolve().parents[2] / "slurm"
sys.path.insert(0, str(SLURM))

from dev_cluster import (  # noqa: E402 (it stands beside its command line, outside any package)
    INSTALL,
    Cluster,
    ClusterError,
    FlatCluster,
    Mistake,
    NetnsCluster,
    missing_tools,
)

__all__ = ["SLURM", "Cluster", "ClusterError", "FlatCluster", "Mistake", "NetnsCluster"]


def require_slurm(*, netns: bool = False) -> None:
    """Skip the test where this machine cannot start a cluster; where CI=true, fail it if Slurm is missing."""
    missing = missing_tools(netns=netns)
    if missing:
        verdict = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        verdict(f"Slurm is not installed (no {', '.join(missing)}): {INSTALL}")
    if netns and os.geteuid() != 0:
        pytest.skip("namespaces need root")


def hurry(cluster: Cluster, job: str) -> None:
    """Start a requeued job now: Slurm holds it for two minutes, and for two seconds it must be left alone."""

    def pending() -> bool:
        text = cluster.run(["scontrol", "-o", "show", "job", job]).stdout
        return "JobState=PENDING" in text and "Reason=BeginTime" in text

    wait_until(pending, "the job to wait in the queue again")
    cluster.run(["sleep", "2.1"])
    cluster.run(["scontrol", "update", f"jobid={job}", "StartTime=now"])


def mend(cluster: Cluster) -> list[str]:
    """End all jobs, and put back whatever else a test has changed; returns a sentence on each thing that it broke."""
    _end_jobs(cluster)
    broken = [*_end_processes_of_jobs(cluster), *_resume_nodes(cluster)]
    wait_until(lambda: not _unusable_nodes(cluster), "all nodes of the shared cluster to be idle")
    return broken


def _end_jobs(cluster: Cluster) -> None:
    def queue() -> list[str]:
        return cluster.run(["squeue", "--noheader", "--format=%A"]).stdout.split()

    if jobs := queue():
        cluster.run(["scancel", *jobs], check=False)  # one that has just ended is no failure
        wait_until(lambda: not queue(), "an empty queue", timeout_s=120)


def _end_processes_of_jobs(cluster: Cluster) -> Iterator[str]:
    """For when no job is left: its step daemons may take a moment more."""

    def left() -> list[int]:
        return [pid for pid in processes_of(cluster.directory) if _is_of_job(pid)]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), "the end of all processes of jobs", timeout_s=10)
    for pid in left():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            os.kill(pid, signal.SIGKILL)
            yield f"process {pid} outlived its job: {command}"


def _is_of_job(pid: int) -> bool:
    return any(variable.startswith(b"SLURM_JOB_ID=") for variable in _environ(pid))


def _resume_nodes(cluster: Cluster) -> Iterator[str]:
    for node, (state, reason) in _unusable_nodes(cluster).items():
        if reason != "none":
            cluster.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
            yield f"{node} was left {state} ({reason})"


def _unusable_nodes(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """State and reason of each node that isn't idle."""
    columns = ["--noheader", "--Node", "--partition=main", "--format=%N|%T|%E"]
    rows = [row.split("|", 2) for row in cluster.run(["sinfo", *columns]).stdout.splitlines()]
    return {node: (state, reason) for node, state, reason in rows if state != "idle"}


def processes_of(directory: Path) -> list[int]:
    """Living processes, but this one, whose SLURM_CONF is that of the cluster in `directory`."""
    mark = f"SLURM_CONF={directory.resolve() / 'slurm.conf'}".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _environ(pid)]  # noqa: PTH208


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has just ended, or is not ours
        return []
