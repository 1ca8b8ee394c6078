"""Cores that a quota of processor time leaves, as containers and Kubernetes give them: affinity says nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import control_groups

OWN = len(os.sched_getaffinity(0))
OLD = "cpu,cpuacct/docker/cpu.cfs_{}_us"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/pod/box\n", {"pod/cpu.max": "100000 100000", "pod/box/cpu.max": "max 100000"}, 1),
        ("0::/\n", {"cpu.max": f"{OWN}50000 100000"}, OWN),
        (
            "4:cpu,cpuacct:/docker\n",
            {OLD.format("quota"): "150000", OLD.format("period"): "100000"},
            min(2, OWN),
        ),
        ("4:cpu,cpuacct:/docker\n", {OLD.format("quota"): "-1", OLD.format("period"): "100000"}, OWN),
        ("4:cpuset:/docker\nnonsense\n", {"cpuset/docker/cpu.cfs_quota_us": "1"}, OWN),
        ("0::/\n", {"cpu.max": "one 0"}, OWN),
        ("", {}, OWN),
    ],
)
def test_a_quota_of_processor_time_counts_as_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "cgroup").write_text(groups)
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "cgroup")
    assert control_groups.cores() == expected
