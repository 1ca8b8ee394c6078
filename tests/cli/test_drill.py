"""`launch drill` proves exact resume, and would notice if it weren't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.drill_runs import compare
from launcher.runs.directory import RunDir, write_json

Launch = Callable[..., Any]


@pytest.mark.slow
def test_stopped_and_killed_runs_end_as_an_undisturbed_one(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    result = launch("drill", *tiny, "--kill", "--steps", "300", "--json")
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert [run["way"] for run in document["runs"]] == ["stop", "kill"]
    for run in document["runs"]:
        counts = {finding["what"]: finding["count"] for finding in run["findings"]}
        assert counts["training losses"] >= 300
        assert counts["weights"] == 3
    assert list((tmp_path / "runs").iterdir()) == []


def make_run(path: Path, losses: list[float], weights: bytes) -> RunDir:
    run = RunDir(path)
    for directory in (run.logs, run.model, run.checkpoints / "step_2"):
        directory.mkdir(parents=True)
    rows = [{"step": step, "train/loss": loss} for step, loss in enumerate(losses, 1)]
    rows.append({"step": len(losses), "split": "validation", "eval/loss": 1.0})
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    events = [
        {"event": "step", "attempt": 1, "step": step, "loss": loss} for step, loss in enumerate(losses, 1)
    ]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    (run.model / "model.safetensors").write_bytes(weights)
    write_json(
        run.checkpoints / "step_2" / "manifest.json",
        {"step": 2, "files": {"model.pt": {"size": 1, "sha256": "00"}}},
    )
    return run


def test_equal_runs_pass(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", [0.5, 0.25], b"same")
    other = make_run(tmp_path / "other", [0.5, 0.25], b"same")
    assert compare(one, other, "stop").passed


@pytest.mark.parametrize(
    ("losses", "weights", "what"),
    [
        ([0.5, 0.2500000001], b"same", "training losses"),
        ([0.5], b"same", "training losses"),
        ([0.5, 0.25], b"other", "weights"),
    ],
)
def test_the_smallest_difference_fails(
    tmp_path: Path, losses: list[float], weights: bytes, what: str
) -> None:
    one = make_run(tmp_path / "one", [0.5, 0.25], b"same")
    other = make_run(tmp_path / "other", losses, weights)
    comparison = compare(one, other, "stop")
    assert not comparison.passed
    different = {finding.what for finding in comparison.findings if finding.difference}
    assert what in different


def test_a_step_done_again_must_come_to_the_same_loss(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", [0.5, 0.25], b"same")
    other = make_run(tmp_path / "other", [0.5, 0.25], b"same")
    with other.events.open("a") as file:
        file.write(json.dumps({"event": "step", "attempt": 2, "step": 2, "loss": 0.3}) + "\n")
    comparison = compare(one, other, "kill")
    assert not comparison.passed
    assert comparison.interrupted_at == 2
