"""docs/tutorial.md as a new user walks it: every command as printed, in its order, on four nodes of a real Slurm."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
from support.slurm_cluster import Cluster
from support.stand_ins import stand_in
from support.waiting import wait_until

ELSEWHERE = ("git clone", "make ", "eval ", "slurm/dev-cluster stop", "export PATH")
"""What the test's own cluster and environment stand in for."""
DEADLINE_S = 600


def commands(page: Path) -> Iterator[str]:
    """Every line of the fenced blocks."""
    for block in re.findall(r"^```\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if line.strip())


@pytest.mark.slow
@pytest.mark.long
def test_every_command_of_the_tutorial_as_printed(repo_root: Path, cluster: Cluster, tmp_path: Path) -> None:
    for name in ("recipes", "slurm"):
        (tmp_path / name).symlink_to(repo_root / name)
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin" / "launch", f'exec {sys.executable} -m launcher "$@"')
    environment = {**os.environ, **cluster.env, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    environment |= {
        "LAUNCH_TRAIN__MAX_STEPS": "6",
        "LAUNCH_DATA__LIMIT": "100",
        "LAUNCH_TRACKING__WANDB__MODE": "disabled",
    }
    for line in commands(repo_root / "docs" / "tutorial.md"):
        if line.startswith(ELSEWHERE):
            continue
        if assignment := re.fullmatch(r"export (\w+)=\$PWD/(.*)", line):
            environment[assignment[1]] = str(tmp_path / assignment[2])
            continue
        if line.startswith("launch compare rates") and "best" not in line:
            wait_for_trials(tmp_path)
        done = run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert "lr: 0.0" in (tmp_path / "best.yaml").read_text()
    assert "<html" in (tmp_path / "rates.html").read_text()[:1000]


def wait_for_trials(directory: Path) -> None:
    """Wait until all trials of the sweep are completed."""

    def completed() -> bool:
        results = [json.loads(path.read_text()) for path in (directory / "runs").glob("rates.*/result.json")]
        assert all(result["status"] == "completed" for result in results), results
        return len(results) == 4

    wait_until(completed, "the trials", timeout_s=DEADLINE_S)
    time.sleep(1)
