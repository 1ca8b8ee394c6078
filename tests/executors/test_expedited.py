"""A job asks to be started again at once after a lost node, where the site's Slurm has that."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for

SWITCHES = ("SlurmctldParameters", "SchedulerParameters")


@pytest.mark.parametrize(
    ("value", "requeue", "expected"),
    [
        ("bf_interval=1,enable_expedited_requeue", True, "--requeue=expedite "),
        ("bf_interval=1,enable_expedited_requeue", False, ""),
        ("bf_interval=1", True, ""),
        ("(null)", True, ""),
    ],
)
@pytest.mark.parametrize("where", SWITCHES)
def test_expedited_requeue(
    tmp_path: Path, commands: Path, where: str, value: str, requeue: bool, expected: str
) -> None:
    run = new_run(plan_of({"executor": "slurm", "requeue": requeue}, run_dir=tmp_path / "runs" / "r"))
    stand_in(commands / "scontrol", f'echo "{where}  = {value}"')
    stand_in(commands / "sbatch", f'echo "$@ ${{LAUNCHER_EXPEDITED-}}" >{tmp_path}/asked; echo 7')
    assert executor_for("slurm").start(run) == "7"
    told = "yes" if expected else ""
    assert (tmp_path / "asked").read_text() == f"--parsable {expected}{run.job_sbatch} {told}\n"
