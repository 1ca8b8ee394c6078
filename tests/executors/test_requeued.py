"""A job that Slurm has put back into the queue: status shows that it waits, and why, and nothing of the last attempt's end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.cli.app import cli
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

WAITING = (
    "JobId=7 JobName=r JobState=PENDING Reason=BeginTime Dependency=(null) Requeue=1 Restarts=1 ExitCode=0:0 "
    "StartTime=2035-01-01T12:00:00 EndTime=2035-01-02T12:00:00 NodeList= BatchFlag=1"
)


@pytest.fixture
def run(tmp_path: Path, commands: Path) -> RunDir:
    """A run whose first attempt was evaluating when it ended, with five hours to go; its job waits for another start."""
    for name, answer in {
        "scontrol": WAITING,
        "squeue": "7|PENDING|BeginTime|2035-01-01T12:00:00|2035-01-02T12:00:00|",
        "sacct": "",
        "sinfo": "",
    }.items():
        stand_in(commands / name, f"echo '{answer}'")
    run = new_run(plan_of({"executor": "slurm", "requeue": True}, run_dir=tmp_path / "runs" / "r"))
    run.add_job("7")
    run.attempt(1).path.mkdir(parents=True)
    ended = time.time() - 60
    run.attempt(1).write(
        Attempt(
            1,
            started_at=ended - 600,
            job_id="7",
            executor="slurm",
            ended_at=ended,
            exit_code=75,
            next="requeue",
        )
    )
    told = [
        {"event": "step", "attempt": 1, "step": 5, "total": 100, "eta_s": 18000.0, "examples_per_s": 80.0},
        {"event": "phase", "attempt": 1, "name": "evaluating", "done": 3, "total": 10},
    ]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in told))
    return run


def status(run: RunDir, *words: str) -> str:
    done = CliRunner().invoke(cli, ["status", *words, f"--runs-dir={run.path.parent}"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "recorded", [None, "stopped"], ids=["without a result", "with that of its last attempt"]
)
def test_it_waits_and_says_why(run: RunDir, recorded: str | None) -> None:
    if recorded is not None:
        write_json(run.result, {"status": recorded, "steps": 5})
    state: dict[str, Any] = json.loads(status(run, "r", "--json"))
    assert (state["status"], state["job"]["reason"]) == ("pending", "BeginTime")
    assert (state["phase"], state["eta_s"], state["examples_per_s"], state["result"]) == (
        None,
        None,
        None,
        None,
    )
    assert (state["step"], state["total"]) == (5, 100)
    text = status(run, "r")
    assert text.startswith("r: pending (BeginTime)\n")
    assert "2035-01-01 12:00" in text
    assert "left" not in text
    assert "evaluating" not in text
    (listed,) = json.loads(status(run, "--json"))
    assert (listed["status"], listed["eta_s"]) == ("pending", None)
