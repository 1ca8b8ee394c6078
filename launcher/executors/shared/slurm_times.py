"""What Slurm says about time: when a job would start, when its limit is up, and how long one is given that must go."""

from __future__ import annotations

import re
import subprocess

from launcher.commands import ask
from launcher.executors.shared.base import Forecast
from launcher.executors.shared.slurm_commands import message_of
from launcher.executors.shared.slurm_states import asked_for, timestamp
from launcher.executors.shared.slurm_submission import UNREACHABLE

FORECAST_S = 5.0
"""Longest to wait for a forecast: a busy controller is not kept busier for it."""
_STARTS = re.compile(r"Job \S+ to start at (\S+) ")


def predicted_start(script: str) -> Forecast | None:
    """What sbatch says of a job script that it isn't to take; None where it isn't there, or doesn't answer soon."""
    try:
        done = subprocess.run(
            ["sbatch", "--test-only"],
            input=script,
            capture_output=True,
            text=True,
            timeout=FORECAST_S,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = message_of(done.stderr)
    if found := _STARTS.search(said):
        return Forecast(starts_at=timestamp(found[1]))
    if not said or done.returncode == 0 or UNREACHABLE.search(said):
        return None
    return Forecast(refusal=said.removeprefix("allocation failure: "))


def ends_by(job: str) -> float | None:
    """When the time limit of a job is up, as it is now; None where it has none, or nobody says."""
    output = ask(["scontrol", "-o", "show", "job", asked_for(job)], FORECAST_S) or ""
    found = re.search(r" EndTime=(\S+)", output)
    return timestamp(found[1]) if found is not None and " JobState=RUNNING " in output else None


def expedites() -> bool:
    """Whether a job may ask to start again at once after a node was lost: from Slurm 25.11 on, where it is switched on."""
    config = _config()
    return "enable_expedited_requeue" in config.get("SchedulerParameters", "").split(",")


def _config() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", ask(["scontrol", "show", "config"]) or "", re.MULTILINE))


def grace_s(partition: str | None) -> float | None:
    """Seconds from the first signal to the kill, for a job that gives way to another: the least of the partitions.

    None where none of them preempts, or Slurm doesn't say.
    """
    config = dict(
        re.findall(r"^(\w+)\s*= (.*?)\s*$", ask(["scontrol", "show", "config"]) or "", re.MULTILINE)
    )
    if config.get("PreemptType") in (None, "preempt/none", "(null)"):
        return None
    listed = (ask(["scontrol", "-o", "show", "partition"]) or "").splitlines()
    rows = [dict(re.findall(r"(?:^| )(\w+)=(\S*)", line)) for line in listed]
    graces = [
        _seconds(row.get("GraceTime")) for row in rows if _is_asked(row, partition) and _gives_way(row, rows)
    ]
    return min(graces) + _seconds(config.get("KillWait")) if graces else None


def _is_asked(row: dict[str, str], partition: str | None) -> bool:
    if partition is None:
        return row.get("Default") == "YES"
    return row.get("PartitionName") in partition.split(",")


def _gives_way(row: dict[str, str], rows: list[dict[str, str]]) -> bool:
    """Whether jobs of a partition may be ended for those of another, which has a higher tier."""
    highest = max((_seconds(other.get("PriorityTier")) for other in rows), default=0)
    return row.get("PreemptMode") in ("REQUEUE", "CANCEL") and _seconds(row.get("PriorityTier")) < highest


def _seconds(text: str | None) -> int:
    """The number that a field begins with: `30 sec`; 0 where it doesn't."""
    found = re.match(r"[0-9]{1,9}", text or "")
    return int(found[0]) if found else 0
