"""No job asks for Slurm's expedited requeue (25.11): it holds a job whose script fails in the queue, on healthy nodes, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.executors import executor_for


@pytest.mark.parametrize("where", ["SlurmctldParameters", "SchedulerParameters"])
@pytest.mark.parametrize("requeue", [True, False])
def test_no_job_asks_for_it_where_it_is_switched_on(
    tmp_path: Path, commands: Path, where: str, requeue: bool
) -> None:
    """A run that failed or was stopped ends with another code than 0, and would never leave the queue."""
    run = new_run(plan_of({"executor": "slurm", "requeue": requeue}, run_dir=tmp_path / "runs" / "r"))
    stand_in(commands / "scontrol", f'echo "{where} = bf_interval=1,enable_expedited_requeue"')
    stand_in(commands / "sbatch", f'echo "$@" >{tmp_path}/asked; echo 7')
    assert executor_for("slurm").start(run) == "7"
    assert (tmp_path / "asked").read_text() == f"--parsable {run.job_sbatch}\n"
