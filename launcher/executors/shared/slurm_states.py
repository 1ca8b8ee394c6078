"""What Slurm knows of jobs: its controller first, then accounting where there is some, then what the job itself left."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from launcher.executors.shared.base import JobState, Status, ended_for_good, recorded_state
from launcher.executors.shared.slurm_commands import message_of, of_cluster, run_slurm
from launcher.executors.shared.slurm_records import SlurmJob, exit_code_of, job_of, known, timestamp, word_of
from launcher.runs.directory import RunDir
from launcher.runs.jobs import Job

QUEUE_HOLDS_S = 2.0
"""How old a list of the queue may be, which many runs are looked up in."""
STATUSES: Mapping[str, Status] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "EXPEDITING": "pending",
    "REQUEUE_HOLD": "pending",
    "REQUEUE_FED": "pending",
    "RESV_DEL_HOLD": "pending",
    "SPECIAL_EXIT": "pending",
    "RUNNING": "running",
    "SUSPENDED": "running",
    "STOPPED": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "completing",
    "COMPLETING": "completing",
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
    "FAILED": "failed",
    "TIMEOUT": "failed",
    "NODE_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
    "BOOT_FAIL": "failed",
    "DEADLINE": "failed",
    "REVOKED": "failed",
}
SUSPENDED = "until it is resumed: it is suspended, for another job or by an administrator"
_HELD: Mapping[str, str] = {
    "JobHeldUser": "until it is released: scontrol release JOB",
    "JobHeldAdmin": "until an administrator releases it",
    "job_requeued_in_held_state": "until it is released: it was put back to be held (scontrol release JOB)",
    "launch_failed_requeued_held": "until it is released: its start failed (scontrol release JOB)",
    "JobHoldMaxRequeue": "until it is released: its start has failed too often (scontrol release JOB)",
    "ReservationDeleted": "until it is released: its reservation was deleted (scontrol release JOB)",
}
_WAITS: Mapping[str, str] = {
    **_HELD,
    "Resources": "for nodes to become free",
    "Priority": "for jobs with a higher priority",
    "Dependency": "for another job to end",
    "DependencyNeverSatisfied": "for a job that can no longer end as asked: it will never start",
    "BeginTime": "until its time comes: Slurm holds a requeued job back for two minutes",
    "JobArrayTaskLimit": "for other trials of its sweep: only so many may run at once",
    "ReqNodeNotAvail": "for nodes that are down, drained or reserved",
    "Nodes_required_for_job_are_DOWN": "for nodes that are down, drained or reserved",
    "PartitionDown": "for its partition, which is down",
    "PartitionInactive": "for its partition, which starts no jobs now",
    "PartitionNodeLimit": "for ever: it asks for more nodes than the partition gives a job",
    "PartitionTimeLimit": "for ever: it asks for more time than the partition gives a job",
    "PartitionConfig": "for ever: the partition can't give what it asks for",
    "BadConstraints": "for ever: no node has what it asks for",
    "Reservation": "for its reservation to begin",
    "Licenses": "for a licence",
    "QOSMaxJobsPerUserLimit": "for others of your jobs: its QOS lets you run only so many",
    "QOSMaxGRESPerUser": "for others of your jobs to give GPUs back: its QOS limits how many you have",
    "QOSMaxNodePerUserLimit": "for others of your jobs to give nodes back: its QOS limits how many you have",
    "QOSMaxCpuPerUserLimit": "for others of your jobs to give cores back: its QOS limits how many you have",
    "AssocGrpGRES": "for jobs of your account to give GPUs back",
    "AssocGrpGRESMinutes": "for ever, unless your account gets more GPU time",
    "AssocGrpCPUMinutesLimit": "for ever, unless your account gets more CPU time",
    "AssocGrpBillingMinutes": "for ever, unless your account gets more time",
    "AssocMaxJobsLimit": "for others of your jobs: your account may run only so many",
    "QOSMaxWallDurationPerJobLimit": "for ever: it asks for more time than its QOS gives a job",
}
"""What it means that a job is pending for this reason, as Slurm calls it."""
_HELPS: Mapping[str, str] = {
    "TIMEOUT": "its time was up before it had saved: launch resume goes on from the newest checkpoint, with time=T for longer; "
    "checkpoint.every makes more of them",
    "OUT_OF_MEMORY": "it used more memory than it had asked for: memory in the cluster profile, for a new run",
}
"""What helps after a job has ended so, as Slurm calls it, and could not say how itself."""


def queued_jobs() -> dict[str, JobState] | None:
    """This user's jobs that the controller knows, as it told within the last QUEUE_HOLDS_S; None where it doesn't answer."""
    which = tuple(os.environ.get(name) for name in ("PATH", "SLURM_CONF"))
    return _queue(int(time.monotonic() / QUEUE_HOLDS_S), which)


@functools.lru_cache(maxsize=1)
def _queue(_moment: int, _of_which: tuple[str | None, ...]) -> dict[str, JobState] | None:
    """This user's jobs that the controller knows, without exit codes; None where it doesn't answer."""
    asked = ["--array", "--states=all", f"--user={os.geteuid()}", "--format=%i|%T|%r|%S|%e|%N"]
    done = run_slurm(["squeue", "--all", "--noheader", *asked])  # also of partitions that are hidden
    if done.returncode:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {
        job: _job_state(job, _told(state, start, end, nodes, reason))
        for job, state, reason, start, end, nodes in (row for row in rows if len(row) == 6)
    }


def state_of(run: RunDir, jobs: Sequence[str], told: Mapping[str, JobState]) -> JobState:
    """The state of a run with these jobs, the newest first, of which Slurm told what it knows."""
    if not jobs:
        return JobState("waiting", reason="never submitted")
    job, *earlier = jobs
    state = told.get(job)
    if state is None or not state.active:
        state = next(_active(run, earlier), state)
    if state is None:
        return recorded_state(run, job)
    is_shared = asked_for(job) != job
    if (is_shared and not state.active) or (
        (is_shared or state.status == "unreachable") and ended_for_good(run, job)
    ):
        # How a job ended that is shared says little about one of those who shared it; and of one that has recorded its end
        # nobody needs to be asked.
        own = recorded_state(run, job)
        return own if own.status != "unknown" else state
    if state.status == "failed" and recorded_state(run, job).status == "cancelled":
        return replace(state, status="cancelled")
    return state


def _active(run: RunDir, jobs: Iterable[str]) -> Iterator[JobState]:
    """Those of a run's earlier jobs that are still there. A new cluster counts from 1 again, so names are compared."""
    for job in jobs:
        state = _controller_state(job, run.run_id)
        if state is not None and state.active:
            yield state


def known_state(job: str) -> JobState | None:
    """What the controller or else accounting knows of a job."""
    state = _controller_state(job)
    if state is None or state.status == "unreachable":
        return accounting_states([job]).get(job) or state
    return state


def asked_for(job: str) -> str:
    """What Slurm is asked for: of several runs that share a job, the whole of it."""
    found = Job.parse(job)
    return job if found is None else found.asked


def _controller_state(job: str, name: str | None = None) -> JobState | None:
    """What the controller knows, where that job has this name; it forgets a job some minutes after its end.

    A controller that doesn't answer hasn't forgotten the job: that is `unreachable`.
    """
    done = run_slurm(["scontrol", "-o", "show", "job", asked_for(job)])
    if "Invalid job id specified" in done.stderr or done.stdout.strip() == f"Job {asked_for(job)} not found":
        return None
    if done.returncode or "JobState=" not in done.stdout:
        said = message_of(done.stderr) or "it says nothing of the job"
        return JobState("unreachable", job, f"Slurm does not answer: {said}")
    found = job_of(done.stdout)
    is_element = "_" in job and name is not None and name.startswith(f"{found.name}.")
    return _job_state(job, found) if name in (None, found.name) or is_element else None


def accounting_states(jobs: Sequence[str]) -> dict[str, JobState]:
    """What accounting knows of jobs, by their ids."""
    if not jobs:
        return {}
    columns = "--format=JobID,State,ExitCode,Start,End,NodeList"
    done = run_slurm(
        [
            "sacct",
            *of_cluster(),  # unlike others of Slurm's commands it doesn't read the variable
            "--allocations",
            "--noheader",
            "--parsable2",
            f"--jobs={','.join(map(asked_for, jobs))}",
            columns,
        ]
    )
    rows = [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    found = {
        job: _told(state, start, end, nodes, exit_code=code)
        for job, state, code, start, end, nodes, *_ in (row for row in rows if len(row) >= 6)
    }
    return {job: _job_state(job, found[asked_for(job)]) for job in jobs if asked_for(job) in found}


def _told(state: str, start: str, end: str, nodes: str, reason: str = "", exit_code: str = "") -> SlurmJob:
    """A job from the columns of a list, which has blanks in a reason where `scontrol show job` has underscores."""
    reason = reason.replace(" ", "_")
    times = timestamp(start), timestamp(end)
    return SlurmJob(word_of(state), None, known(reason), exit_code_of(exit_code), *times, known(nodes))


def _job_state(job: str, told: SlurmJob) -> JobState:
    state = JobState(
        STATUSES.get(told.word, "unknown"),
        job,
        reason=told.reason,
        nodes=told.nodes,
        started_at=told.started_at,
        ends_by=told.ends_by,
    )
    if state.status == "pending":
        reason = re.sub(r"\W.*", "", state.reason or "")
        # The time to which a held job was put back is no start.
        start = None if reason in _HELD else state.started_at
        return replace(state, waits_for=_WAITS.get(reason), started_at=start)
    if told.word == "SUSPENDED":
        return replace(state, waits_for=SUSPENDED)
    if state.active:
        return state
    stopped = told.word == "FAILED" and told.exit_code == 75
    return replace(
        state,
        status="stopped" if stopped else state.status,
        reason=state.reason if told.word in ("COMPLETED", "FAILED") else told.word,
        exit_code=told.exit_code,
        remedy=_HELPS.get(told.word),
    )
