"""What Slurm says about time: when a job would start, when its limit is up, and how long one is given that must go."""

from __future__ import annotations

import math
import os
import re
import subprocess

from launcher.commands import TIMEOUT_S, ask, run_command
from launcher.executors.shared import slurm_records
from launcher.executors.shared.base import Forecast
from launcher.executors.shared.environment import split_environment
from launcher.executors.shared.slurm_commands import message_of, of_cluster
from launcher.executors.shared.slurm_records import SlurmPartition, job_of, timestamp
from launcher.executors.shared.slurm_states import asked_for
from launcher.executors.shared.slurm_submission import UNREACHABLE

FORECAST_S = 5.0
"""Longest to wait for a forecast: a busy controller is not kept busier for it."""
_STARTS = re.compile(r"Job \S+ to start at (\S+) ")


def predicted_start(script: str) -> Forecast | None:
    """What sbatch says of a job script that it isn't to take; None where it isn't there, or doesn't answer soon.

    It has the environment of a submission: by others of its variables sbatch would ask for more than the script.
    """
    try:
        variables = split_environment(os.environ).passed
        done = run_command(["sbatch", "--test-only", *of_cluster()], FORECAST_S, variables, script)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = message_of(done.stderr)
    if found := _STARTS.search(said):
        return Forecast(starts_at=timestamp(found[1]))
    if not said or done.returncode == 0 or UNREACHABLE.search(said):
        return None
    return Forecast(refusal=said.removeprefix("allocation failure: "))


def ends_by(job: str) -> float | None:
    """When the time limit of a job is up, as it is now: never where it has none; None where nobody says."""
    told = job_of(ask(["scontrol", "-o", "show", "job", asked_for(job)], FORECAST_S) or "")
    if told.word != "RUNNING":
        return None
    return math.inf if told.ends_by is None else told.ends_by


def grace_s(partition: str | None) -> float | None:
    """Seconds from the first signal to the kill, for a job that gives way to another: the least of the partitions.

    None where none of them preempts, or Slurm doesn't say.
    """
    config = slurm_records.config(TIMEOUT_S)
    if not config.preempts:
        return None
    listed = slurm_records.partitions(TIMEOUT_S, hidden=True)
    highest = max((each.tier for each in listed), default=0)
    graces = [
        each.grace_s
        for each in listed
        if _is_asked(each, partition) and each.may_be_preempted and each.tier < highest
    ]
    return min(graces) + config.kill_wait_s if graces else None


def _is_asked(told: SlurmPartition, partition: str | None) -> bool:
    return told.is_default if partition is None else told.name in partition.split(",")
