"""What Slurm's commands print, read once into records: all of it is text that others have written."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from dataclasses import dataclass

from launcher.commands import ask

ASK_S = 20.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TIME = re.compile(r"(?:\d{1,4}-)?\d{1,3}(?::\d{2}){0,2}")
UNLIMITED = ("UNLIMITED", "INFINITE", "NONE", "N/A", "(null)", "")
_FIELD = re.compile(r"(?:^| )(\w+)=(\S*)")
_JOB_FIELD = re.compile(
    r"(?:^| )(JobName|JobState|Reason|ExitCode|StartTime|EndTime|PreemptTime|NodeList|Restarts)=(\S*)"
)


@dataclass(frozen=True)
class SlurmJob:
    """A job, as scontrol, squeue or sacct tells it; what it leaves out is None."""

    word: str
    """The state as Slurm calls it, such as `RUNNING`."""
    name: str | None = None
    reason: str | None = None
    exit_code: int = 0
    """Of its script, or 128 and the signal that ended it."""
    started_at: float | None = None
    ends_by: float | None = None
    """Unix seconds, as `started_at`."""
    nodes: str | None = None
    restarts: int = 0
    preempted_at: float | None = None


@dataclass(frozen=True)
class SlurmPartition:
    """A line of `scontrol show partition`."""

    name: str
    is_up: bool
    is_default: bool
    nodes: int
    most_nodes: int | None
    """In one job; None where nothing limits it."""
    longest: str | None
    """Time limit in Slurm's notation."""
    has_default_time: bool
    memory_mib_per_cpu: int | None
    may_be_preempted: bool
    tier: int
    """Jobs of a partition may be ended for those of one with a higher tier."""
    grace_s: int


@dataclass(frozen=True)
class SlurmConfig:
    """What is read of `scontrol show config`."""

    name: str | None
    """Of the cluster."""
    counts_gpus: bool
    has_accounting: bool
    preempts: bool
    kill_wait_s: int
    expedites: bool
    """Whether a job may ask to start again at once after a node was lost: from Slurm 25.11 on, where it is switched on."""


def job_of(text: str) -> SlurmJob:
    """A job from what `scontrol -o show job` prints, which names its state."""
    fields: defaultdict[str, str] = defaultdict(str)
    for name, value in _JOB_FIELD.findall(text):
        fields.setdefault(name, value)
    return SlurmJob(
        word=word_of(fields["JobState"]),
        name=fields["JobName"],
        reason=known(fields["Reason"]),
        exit_code=exit_code_of(fields["ExitCode"]),
        started_at=timestamp(fields["StartTime"]),
        ends_by=timestamp(fields["EndTime"]),
        nodes=known(fields["NodeList"]),
        restarts=_number(fields["Restarts"]) or 0,
        preempted_at=timestamp(fields["PreemptTime"]),
    )


def partitions(timeout_s: float = ASK_S, *, hidden: bool = False) -> list[SlurmPartition]:
    """The partitions with plain names, those that are `hidden` too; none where Slurm doesn't answer."""
    which = ["--all"] if hidden else []
    lines = (ask(["scontrol", *which, "-o", "show", "partition"], timeout_s) or "").splitlines()
    return list(filter(None, map(_partition, lines)))


def _partition(line: str) -> SlurmPartition | None:
    fields = defaultdict(str, _FIELD.findall(line))
    longest = fields["MaxTime"]
    if name_of(fields["PartitionName"]) is None:
        return None
    return SlurmPartition(
        name=fields["PartitionName"],
        is_up=fields["State"] == "UP",
        is_default=fields["Default"] == "YES",
        nodes=_number(fields["TotalNodes"]) or 0,
        most_nodes=_number(fields["MaxNodes"]),
        longest=longest if TIME.fullmatch(longest) else None,
        has_default_time=fields["DefaultTime"] not in UNLIMITED,
        memory_mib_per_cpu=_number(fields["DefMemPerCPU"]),
        may_be_preempted=fields["PreemptMode"] in ("REQUEUE", "CANCEL"),
        tier=_leading_number(fields["PriorityTier"]),
        grace_s=_leading_number(fields["GraceTime"]),
    )


def config(timeout_s: float = ASK_S) -> SlurmConfig:
    """Slurm's configuration; where it doesn't answer, as if nothing was switched on."""
    said = ask(["scontrol", "show", "config"], timeout_s) or ""
    fields = defaultdict(str, re.findall(r"^(\w+)\s*= (.*?)\s*$", said, re.MULTILINE))
    return SlurmConfig(
        name=name_of(fields["ClusterName"]),
        counts_gpus=fields["SelectType"].endswith("cons_tres"),
        has_accounting="slurmdbd" in fields["AccountingStorageType"],
        preempts=fields["PreemptType"] not in ("", "preempt/none", "(null)"),
        kill_wait_s=_leading_number(fields["KillWait"]),
        expedites=any(
            "enable_expedited_requeue" in fields[where].split(",")
            for where in ("SlurmctldParameters", "SchedulerParameters")  # SchedMD's place, and Amazon's
        ),
    )


def name_of(text: str) -> str | None:
    """A word of Slurm's that can be a name, or None."""
    return text if NAME.fullmatch(text) else None


def word_of(state: str) -> str:
    """`CANCELLED` of `CANCELLED by 1000`."""
    return state.split(maxsplit=1)[0].rstrip("+") if state.split() else ""


def exit_code_of(text: str) -> int:
    """The code of `CODE:SIGNAL`; 0 where that isn't said."""
    found = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", text)
    if found is None:
        return 0
    code, signal_number = int(found[1]), int(found[2] or 0)
    return 128 + signal_number if signal_number else code


def known(value: str) -> str | None:
    """None for the words by which Slurm says that it knows nothing."""
    return None if value in ("", "None", "(null)", "None assigned", "Unknown", "N/A") else value


def timestamp(value: str) -> float | None:
    """A time of Slurm's in Unix seconds; None where it says none."""
    try:
        # Slurm writes local time without a zone, which is what `timestamp` takes it for.
        return dt.datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 and int(text) > 0 else None


def _leading_number(text: str) -> int:
    """The number that a field begins with: `30 sec`; 0 where it doesn't."""
    found = re.match(r"[0-9]{1,9}", text)
    return int(found[0]) if found else 0
