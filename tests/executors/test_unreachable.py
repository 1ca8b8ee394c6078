"""A scheduler that doesn't answer: what a run has recorded of its own end holds, and nothing else is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.results import Result

SILENT = 'echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2\nexit 1'


@pytest.fixture
def run(tmp_path: Path, commands: Path) -> RunDir:
    """A run with a job, while no command of Slurm's gets an answer."""
    for name in ("scontrol", "squeue", "sacct"):
        stand_in(commands / name, SILENT)
    run = new_run(plan_of({"executor": "slurm", "nodes": 2}, run_dir=tmp_path / "runs" / "r"))
    run.add_job("7")
    run.attempt(1).path.mkdir()
    return run


@pytest.mark.parametrize(
    ("ended", "seen"),
    [
        ({}, "unreachable"),
        ({"ended_at": 9.0, "status": "stopped", "next": "stay"}, "stopped"),
        ({"ended_at": 9.0, "status": "failed", "next": "stay"}, "failed"),
        ({"ended_at": 9.0, "status": "stopped", "next": "requeue"}, "unreachable"),
        ({"ended_at": 9.0, "status": "failed", "next": "again"}, "unreachable"),
    ],
)
@pytest.mark.fault(26)
def test_only_an_end_for_good_is_believed(run: RunDir, ended: dict[str, Any], seen: str) -> None:
    """Else `stop --wait` waits for minutes for what is over, and a list calls it running."""
    run.attempt(1).write(Attempt(1, started_at=1.0, job_id="7", hosts=("node1",), **ended))
    if ended:
        run.write_result(Result(ended["status"], job_id="7" if ended["next"] == "stay" else None))
    assert executor_for("slurm").state(run).status == seen
    assert executor_for("slurm").states([run])[0].status == seen
