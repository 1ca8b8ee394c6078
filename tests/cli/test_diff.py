"""`launch diff`: what is said of two runs that were trained, of data that changed, and of runs without a record."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch

from launcher.runs.directory import RunDir
from launcher.runs.provenance import read_data_used

SMOKE = Path(__file__).resolve().parents[2] / "recipes" / "smoke"


def test_a_changed_and_a_removed_row_are_named_and_a_key_has_its_origins(
    launch: Launch, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    data = tmp_path / "train.csv"
    lines = (SMOKE / "train.csv").read_text().splitlines()
    words = (*tiny, f"data.train={data}", "train.max_steps=2")
    data.write_text("\n".join(lines) + "\n")
    launch(*words, "run_id=one")
    lines[16] = "an awful film,negative"
    del lines[99]
    data.write_text("\n".join(lines) + "\n")
    launch(*words, "run_id=two", "train.lr=0.5")

    shown = launch("diff", "one", "two").stdout
    assert f"train: {data}: line 17 differs\n      + an awful film,negative\n" in shown
    assert f"train: {data}: line 100 removed\n" in shown
    assert re.search(r"train\.lr  0\.0007 \(smoke\.yaml:\d+\)  0\.5 \(override\)", shown)
    assert "versions: the same" in shown

    found = json.loads(launch("diff", "one", "two", "--json").stdout)
    assert [entry["name"] for entry in found["recipe"]["entries"]] == ["train.lr"]
    assert found["code"] == found["machine"] == {"entries": [], "notes": []}
    assert [finding["what"] for finding in found["results"]["findings"]] == [
        "training losses",
        "evaluations",
        "weights",
    ]


@pytest.fixture
def two(finished: tuple[RunDir, Any], tmp_path: Path) -> list[RunDir]:
    """Two copies of a run."""
    found = [RunDir(tmp_path / "runs" / name) for name in ("one", "two")]
    for run in found:
        shutil.copytree(finished[0].path, run.path)
    return found


def test_copies_of_a_run_differ_in_nothing(launch: Launch, two: list[RunDir]) -> None:
    shown = launch("diff", "one", "two").stdout
    for name in ("recipe", "plan", "code", "versions", "machine", "data"):
        assert f"\n{name}: the same\n" in shown
    assert "training losses: 6 of 6 are the same" in shown
    assert "weights: 3 of 3 are the same" in shown
    used = read_data_used(two[0])
    assert used is not None
    assert used.examples == {"train": 64, "validation": 300, "test": 300}


def test_other_versions_another_machine_and_a_patch_are_told(launch: Launch, two: list[RunDir]) -> None:
    environment = json.loads(two[1].environment.read_text())
    environment["packages"]["torch"] = "1.0\x1b[31m"
    environment["gpus"] = ["NVIDIA H100"]
    two[1].environment.write_text(json.dumps(environment))
    two[0].code_patch.unlink(missing_ok=True)
    two[1].code_patch.write_text("diff --git a/launcher/a.py b/launcher/a.py\n--- a\n+++ b\n-x\n+y\n+z\n")
    shown = launch("diff", "one", "two").stdout
    assert "changes to it  -    1 files, +2 -1 lines" in shown
    assert "1.0\\x1b[31m" in shown
    assert "GPUs  none  NVIDIA H100" in shown
    environment["packages"]["new"] = "1.0"
    two[1].attempt(1).environment.write_text(json.dumps({**environment, "gpus": []}))
    shown = launch("diff", "one", "two").stdout
    assert "attempt 1 of two had other gpus and packages (new): " in shown


def test_what_an_older_launch_did_not_record_is_said(launch: Launch, two: list[RunDir]) -> None:
    shutil.rmtree(two[1].provenance)
    shown = launch("diff", "one", "two").stdout
    assert shown.count("not recorded by two: its training had not begun, or an older launch ran it") == 2


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("environment.json", '{"python": 3}'),
        ("data.json", '{"fingerprint": "x"}'),
        ("origins.json", "[]"),
    ],
)
def test_a_damaged_record_is_named(launch: Launch, two: list[RunDir], file: str, text: str) -> None:
    (two[0].provenance / file).write_text(text)
    said = launch("diff", "one", "two", code=2)
    assert file in said.stderr
    assert "Traceback" not in said.stderr
