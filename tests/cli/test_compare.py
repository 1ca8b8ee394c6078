"""`launch compare`: the table, with latency measured when asked for and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.runs.directory import RunDir

Launch = Callable[..., Any]


@pytest.fixture
def two(finished: tuple[RunDir, Any], tmp_path: Path) -> Path:
    """A directory of two runs, `one` and `two`."""
    for name in ("one", "two"):
        shutil.copytree(finished[0].path, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_latency_is_measured_once_and_kept(launch: Launch, two: Path) -> None:
    before = launch("compare", "one", "two")
    assert " ms" not in before.stdout
    (row,) = json.loads(launch("compare", "one", "two", "--latency", "--json").stdout)["rows"]
    assert row["runs"] == ["one", "two"]
    assert row["latency_ms"]["count"] == 2
    kept = [json.loads((two / name / "latency.json").read_text()) for name in ("one", "two")]
    assert [entry["ms"] > 0 for entry in kept] == [True, True]
    shown = launch("compare", "one", "two").stdout
    assert "accuracy" in shown
    assert " ms" in shown


@pytest.mark.usefixtures("two")
def test_a_run_that_is_not_there(launch: Launch) -> None:
    result = launch("compare", "one", "twp", code=2)
    assert "no run 'twp'" in result.stderr
    assert "did you mean two?" in result.stderr
    assert result.stdout == ""
