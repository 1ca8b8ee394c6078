"""Advice on trainings that really have the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.training import RankServer, make_run, recipe

from launcher.report.advice import diagnose, read_history


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"train": {"lr": 1e-7, "max_steps": 30}}, "rate_too_low"),
        ({"train": {"lr": 1e-3, "max_steps": 60, "clip": 0.01}}, "always_clipped"),
        (
            {"train": {"lr": 3e-3, "epochs": 40, "max_steps": None}, "data": {"limit": 24}},
            "overfitting",
        ),
    ],
)
def test_a_fault_is_found(
    tmp_path: Path, tiny_data: Path, ranks: RankServer, changes: dict[str, Any], name: str
) -> None:
    wanted = recipe(tiny_data, eval={"every": 10}, checkpoint={"every": None}, **changes)
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert name in [finding.name for finding in diagnose(read_history(run))]
