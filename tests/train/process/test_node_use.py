"""What a node is busy with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.waiting import wait_until

from launcher.runs.directory import RunDir
from launcher.runs.records import read_json_lines
from launcher.train.process.node_use import gpu_figures, watch_node


def test_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_NODE", "3")
    run = RunDir(tmp_path)
    run.logs.mkdir()
    watch_node(run, has_gpus=True, every_s=0.05)
    wait_until(lambda: len(list(read_json_lines(run.node_use(3)))) >= 2, "two lines")
    first, second, *_ = read_json_lines(run.node_use(3))
    assert 0 <= second["cpu_percent"] <= 100
    assert 0 < second["memory_percent"] <= 100
    assert first["at"] < second["at"]


@pytest.mark.parametrize(
    ("table", "figures"),
    [
        ("50, 1000, 4000\n100, 3000, 4000\n", {"gpu_percent": 75, "gpu_memory_percent": 50}),
        ("[N/A], 1000, 4000\n", {}),
        ("", {}),
        ("No devices were found\n", {}),
    ],
)
def test_gpus_as_nvidia_smi_lists_them(table: str, figures: dict[str, float]) -> None:
    assert gpu_figures(table) == figures
