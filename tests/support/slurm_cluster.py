"""The development cluster for tests: import `FlatCluster` and `NetnsCluster` from here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Return as soon as `condition` holds; fail the test, naming `what` it waited for, if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.05)


def processes_of(directory: Path) -> list[int]:
    """Living processes, but this one, whose SLURM_CONF is that of the cluster in `directory`."""
    mark = f"SLURM_CONF={directory.resolve() / 'slurm.conf'}".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _environ(pid)]  # noqa: PTH208


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has just ended, or is not ours
        return []
