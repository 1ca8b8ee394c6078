"""The cloze example end to end: a small model learns that 诸葛[MASK] is 亮, and is then taught that it is 涛."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long


def launch(directory: Path, *words: str) -> str:
    """What `launch` prints, run in a directory."""
    command = [sys.executable, "-m", "launcher", *words]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two runs: `first` of recipe=cloze, `second` of recipe=cloze-rename on top of it."""
    directory = tmp_path_factory.mktemp("cloze")
    none = ("tracking.wandb.mode=disabled", "executor=local")
    launch(directory, "recipe=cloze", "run_id=first", "eval.every=null", *none)
    launch(directory, "recipe=cloze-rename", "init_from=first", "run_id=second", *none)
    return directory


def _candidates(workdir: Path, run: str) -> dict[str, float]:
    answer = launch(workdir, "predict", run, "--text", "诸葛[MASK]", "--json")
    found: dict[str, float] = json.loads(answer)["predictions"][0]["probabilities"]
    return found


def _probes(workdir: Path, run: str) -> list[dict[str, Any]]:
    lines = (workdir / "runs" / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row.get("split") == "probes"]


def test_liang_comes_first_before_and_tao_after(workdir: Path) -> None:
    assert next(iter(_candidates(workdir, "first"))) == "亮"
    assert next(iter(_candidates(workdir, "second"))) == "涛"


def test_the_other_names_are_not_destroyed(workdir: Path) -> None:
    before, *_, after = _probes(workdir, "second")
    for number in (4, 5, 6):
        assert after[f"eval/probe/{number}/rank"] == 1
    assert before["eval/probe/1/probability"] < 0.1 < 0.5 < after["eval/probe/1/probability"]
    assert after["eval/probe/2/probability"] < 0.2 < before["eval/probe/2/probability"]
