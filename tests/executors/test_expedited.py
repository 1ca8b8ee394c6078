"""A job asks to be started again at once after a lost node, where the site's Slurm has that."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for

CONFIG = "SchedulerParameters     = {}\nPreemptType             = preempt/none\n"


@pytest.mark.parametrize(
    ("parameters", "requeue", "expected"),
    [
        ("bf_interval=1,enable_expedited_requeue", True, "--requeue=expedite "),
        ("bf_interval=1,enable_expedited_requeue", False, ""),
        ("bf_interval=1", True, ""),
        ("(null)", True, ""),
    ],
)
def test_expedited_requeue(
    tmp_path: Path, commands: Path, parameters: str, requeue: bool, expected: str
) -> None:
    run = new_run(plan_of({"executor": "slurm", "requeue": requeue}, run_dir=tmp_path / "runs" / "r"))
    stand_in(commands / "scontrol", f"cat <<'.'\n{CONFIG.format(parameters)}.")
    stand_in(commands / "sbatch", f'echo "$@" >{tmp_path}/asked; echo 7')
    assert executor_for("slurm").start(run) == "7"
    assert (tmp_path / "asked").read_text() == f"--parsable {expected}{run.job_sbatch}\n"
