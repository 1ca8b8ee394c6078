"""Runs jobs through Slurm's own commands. Works without accounting: a job's state is asked of the controller, then of
accounting where there is some, then of what the job itself left in the run directory."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.commands import TIMEOUT_S, ask
from launcher.errors import LauncherError, Problem, RunFailed, UserError, nearest
from launcher.executors.shared import slurm_site
from launcher.executors.shared.base import (
    Finding,
    JobState,
    Status,
    Verdict,
    ended_for_good,
    prepare_start,
    recorded_state,
    refuse_idle,
    request_stop,
)
from launcher.executors.shared.site import Site
from launcher.network import resolve
from launcher.runs import directory as directories
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.exclusions import exclude_option, exclusions
from launcher.runs.jobs import Job
from launcher.runs.records import read_text

if TYPE_CHECKING:
    from launcher.recipe.cluster import Cluster

QUEUE_HOLDS_S = 2.0
"""How old a list of the queue may be, which many runs are looked up in."""
COMMAND_TIMEOUT_S = 60.0
RECORD_TIMEOUT_S = 5.0
"""Longest to wait for the script of a killed training to record that."""
CANCEL_TIMEOUT_S = 45.0
"""Longest to wait for a killed job to be gone: Slurm's KillWait is 30 s by default."""

STATUSES: Mapping[str, Status] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
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
_WAITS: Mapping[str, str] = {
    "Resources": "for nodes to become free",
    "Priority": "for jobs with a higher priority",
    "Dependency": "for another job to end",
    "DependencyNeverSatisfied": "for a job that can no longer end as asked: it will never start",
    "BeginTime": "until its time comes: Slurm holds a requeued job back for two minutes",
    "JobHeldUser": "until it is released: scontrol release JOB",
    "JobHeldAdmin": "until an administrator releases it",
    "JobArrayTaskLimit": "for other trials of its sweep: only so many may run at once",
    "ReqNodeNotAvail": "for nodes that are down, drained or reserved",
    "Nodes": "for nodes that are down, drained or reserved",
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
    "launch_failed_requeued_held": "until it is released: its start failed (scontrol release JOB)",
}
"""What it means that a job is pending for this reason, as Slurm calls it."""
# Slurm could not be asked, which says nothing about the request.
_UNREACHABLE = re.compile(
    r"unable to contact|timed out|connection refused|zero bytes|communication|munge|authentication|"
    r"temporarily|try again|did not return|connect failure|slurm_conf|parsing config|configuration source",
    re.IGNORECASE,
)
GPU_RESOURCE = re.compile(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)")
_FIELD = re.compile(r"(?:^| )(JobName|JobState|Reason|ExitCode|StartTime|EndTime|NodeList)=(\S*)")


class SlurmExecutor:
    """Jobs of one Slurm cluster, the one that the environment's Slurm commands talk to; see `Executor`."""

    takes_nodes = True
    script = "job.sbatch"
    template = "job.sbatch.j2"
    pack_template = "pack.sbatch.j2"
    array_template = "array.sbatch.j2"

    def start(self, run: RunDir) -> str:
        """Submit job.sbatch. Raises UserError with Slurm's own sentence where the request is refused."""
        with run.locked():
            environment = self._prepare(run)
            run.submitting.touch(mode=0o600)
            done = _slurm(
                ["sbatch", "--parsable", *_without_bad_nodes(run), str(run.job_sbatch)], environment
            )
            job = _job_number(done)
            if job is not None:
                run.add_job(job)
            else:
                job = _take_up_unknown_jobs(run, _sentence(done.stderr))
            if job is not None:
                run.submitting.unlink(missing_ok=True)
                return job
        raise _refusal(run, _sentence(done.stderr))

    def start_together(self, script: Path, runs: Sequence[RunDir], each: int = 1) -> str:
        """Submit an array of which each element is the job of one run, known to it as ARRAY_INDEX, or of `each` runs, which
        know it as ARRAY_INDEX.MEMBER."""
        places = [str(n) if each == 1 else f"{n // each}.{n % each}" for n in range(len(runs))]
        with contextlib.ExitStack() as locks:
            for run in runs:
                locks.enter_context(run.locked())
            environments = [self._prepare(run) for run in runs]
            for place, run in zip(places, runs, strict=True):
                directories.write_text(run.submitting, f"{place} {script}")
            done = _slurm(["sbatch", "--parsable", str(script)], environments[0])
            array = _job_number(done) or _unknown_array(runs[0], script, _sentence(done.stderr))
            if array is None:
                refusals = [_refusal(run, _sentence(done.stderr)) for run in runs]
                raise refusals[0]
            for place, run in zip(places, runs, strict=True):
                if run.last_job() != f"{array}_{place}":  # it may have started already, and say so itself
                    run.add_job(f"{array}_{place}")
                run.submitting.unlink(missing_ok=True)
        return array

    def _prepare(self, run: RunDir) -> dict[str, str]:
        """Look for a job that was accepted without saying so, then `prepare_start`."""
        if run.submitting.exists():
            _take_up_unknown_jobs(run)
        return prepare_start(run, self.state(run), os.environ)

    def state(self, run: RunDir) -> JobState:
        """Ask the controller, then accounting, then the run directory."""
        jobs = _all_jobs(run)
        state = _known_state(jobs[0]) if jobs else None
        return _state_of(run, jobs, {} if state is None else {jobs[0]: state})

    def states(self, runs: Sequence[RunDir]) -> list[JobState]:
        """Ask once for what the controller knows and once for what accounting knows of the rest.

        Only the exit code of a job that ended a moment ago is asked for alone.
        """
        jobs = [_all_jobs(run) for run in runs]
        newest = [found[0] for found in jobs if found]
        queue = _queue(int(time.monotonic() / QUEUE_HOLDS_S))
        if queue is None:
            told = {job: JobState("unreachable", job, "Slurm does not answer") for job in newest}
            return [_state_of(run, found[:1], told) for run, found in zip(runs, jobs, strict=True)]
        told = _accounting_states([job for job in newest if _asked(job) not in queue])
        for job in newest:
            listed = queue.get(_asked(job))
            if listed is not None:
                state = replace(listed, job_id=job) if listed.active else _known_state(job)
                told |= {} if state is None else {job: state}
        known = [[job for job in found if job == found[0] or _asked(job) in queue] for found in jobs]
        return [_state_of(run, found, told) for run, found in zip(runs, known, strict=True)]

    def stop(self, run: RunDir) -> None:
        """Take a waiting job out of the queue; ask a running one to save and stop."""
        state = self.state(run)
        refuse_idle(run, state)
        assert state.job_id is not None
        request_stop(run)
        if state.status == "pending":
            is_alone = _asked(state.job_id) == state.job_id
            if is_alone:
                _take_out_of_the_queue(state.job_id)
            if not is_alone or self.state(run).status == "cancelled":
                from launcher.runs import endings

                endings.stopped(run)
                _leave_the_queue(run, state.job_id)

    def cancel(self, run: RunDir) -> None:
        """Kill the job, and any other that the run still has; returns once they are gone."""
        while (state := self.state(run)).active:
            if state.status == "unreachable":
                remedy = f"launch stop {run.run_id} works without it"
                raise RunFailed("scheduler", f"{state.reason}; nothing was killed", remedy)
            if state.job_id is not None and _asked(state.job_id) != state.job_id:
                _cancel_member(run, state)
            else:
                self._cancel(run, state)

    def inject(self, run: RunDir, fault: str, rank: int) -> str:
        """Harm a rank from a step of its own, beside the training on its node."""
        state, attempt, plan = self.state(run), run.last_attempt(), run.plan_tree()
        if state.job_id is None or attempt is None:
            raise RunFailed("drill", f"{run.run_id} has no job")
        node = attempt.read().hosts[rank // plan["gpus"]]
        step = ["--overlap", "--nodes=1", "--ntasks=1", "--cpus-per-task=1", f"--nodelist={node}"]
        harm = [
            plan["python"],
            "-P",
            "-m",
            "launcher.executors.shared.injection",
            str(run.path),
            fault,
            str(rank),
        ]
        done = _slurm(["srun", f"--jobid={_asked(state.job_id)}", *step, *harm])
        # A node that is lost may take the step along that did it.
        if done.returncode and not done.stdout:
            raise RunFailed("drill", f"{node} could not be reached: {_sentence(done.stderr)}")
        return f"{done.stdout.strip()} on {node}"

    def is_set_up(self) -> bool:
        """Whether sbatch is on PATH and has a configuration: the distribution's client alone has no cluster.

        A controller that doesn't answer at the moment is still a cluster: nothing is trained on its login node instead.
        """
        if shutil.which("sbatch") is None:
            return False
        try:
            command = ["sinfo", "--noheader"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return True
        return "Could not establish a configuration source" not in done.stderr

    def look(self) -> Iterator[Finding]:
        """Whether there is a cluster that answers, and what its partitions have."""
        if shutil.which("sbatch") is None:
            yield Finding("ok", "sbatch is not on PATH: runs are local")
        elif not self.is_set_up():
            message = "sbatch is there, but has no cluster: runs are local"
            yield Finding("note", message, "set SLURM_CONF, or: make cluster")
        elif (listed := ask(["sinfo", "--noheader", "--format=%P %a %D %T %G"])) is None:
            message = "sbatch is there, but sinfo gets no answer"
            yield Finding("broken", message, "is this a login node, and is slurmctld up?")
        else:
            yield from (Finding("ok", _partition_text(line)) for line in listed.splitlines())

    def gpus_per_node(self, partition: str | None) -> int | None:
        """Most GPUs of a node in the partitions, the default one where None; None where Slurm doesn't answer."""
        output = ask(["sinfo", "--noheader", "--format=%P %G"])
        return None if output is None else max(_partition_gpus(output.splitlines(), partition), default=0)

    def site(self) -> Site:
        """The partitions, accounts and container runtimes that Slurm names."""
        return slurm_site.read_site()

    def probe(self, profile: Cluster, script: str) -> str:
        """Through srun, with one GPU where the profile has some."""
        kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
        gpu = f"{kind}1" if profile.gpu_request != "gres" else f"gpu:{kind}1"
        asked = {
            name: getattr(profile, name)
            for name in ("partition", "account", "qos", "constraint", "reservation")
        }
        options = {**asked, profile.gpu_request: gpu if profile.gpus_per_node else None}
        return slurm_site.run_on_a_node(options, script)

    def node_capacity(self, partition: str | None) -> tuple[int | None, int | None]:
        """The least of the nodes in the partitions, the default one where None."""
        output = ask(["sinfo", "--noheader", "--exact", "--format=%P %c %m"]) or ""
        rows = [line.split() for line in output.splitlines()]
        asked = [
            (int(cores), int(mebibytes) << 20)
            for name, cores, mebibytes in (row for row in rows if len(row) == 3)
            if (name.endswith("*") if partition is None else name.rstrip("*") in partition.split(","))
        ]
        return min((cores for cores, _ in asked), default=None), min(
            (size for _, size in asked), default=None
        )

    def may_start_again(self, job: str | None) -> bool:
        """Whether the job is in the queue, which is asked for once in some seconds however many runs are looked at."""
        state = (_queue(int(time.monotonic() / QUEUE_HOLDS_S)) or {}).get(job or "")
        return state is not None and state.active

    def addresses(self, hosts: Sequence[str]) -> tuple[str, ...]:
        """Names of nodes, or Slurm's addresses of them where the names don't resolve."""
        if resolve(hosts[0]) is not None:
            return tuple(hosts)
        output = ask(["scontrol", "-o", "show", "node", ",".join(hosts)], COMMAND_TIMEOUT_S) or ""
        known = dict(re.findall(r"^NodeName=(\S+) .*?\bNodeAddr=(\S+)", output, re.MULTILINE))
        return tuple(known.get(host, host) for host in hosts)

    def verdict(self, attempt: Attempt) -> Verdict:
        """What Slurm has decided while the job's script still runs.

        A job that is being taken off its nodes is COMPLETING whatever the reason; but one that will start again has been
        counted as restarted already.
        """
        output = ask(["scontrol", "-o", "show", "job", _asked(str(attempt.job_id))], COMMAND_TIMEOUT_S) or ""
        fields = dict(re.findall(r"\b(JobState|Reason|Restarts)=(\S+)", output))
        if fields.get("JobState") in (None, "RUNNING"):
            return None
        if int(fields.get("Restarts", 0)) > attempt.restart_count:
            return "requeued"
        return None if fields.get("Reason") == "TimeLimit" else "cancelled"

    def _cancel(self, run: RunDir, state: JobState) -> None:
        assert state.job_id is not None
        # Slurm may take long over what is left of a job: how its run ended stays as it is.
        has_said = state.status == "completing" and recorded_state(run, state.job_id).status != "unknown"
        if not has_said:
            directories.write_text(run.cancel, "user")
        if state.status == "running":
            # The training first, with no time to save; its script lives on for a moment and records the end.
            steps = _slurm(["squeue", "--steps", "--noheader", f"--jobs={state.job_id}", "--format=%i"])
            numbered = [step for step in steps.stdout.split() if step.rpartition(".")[2].isdigit()]
            if numbered:
                _slurm(["scancel", "--signal=KILL", *numbered])
            _wait(lambda: not run.cancel.exists(), RECORD_TIMEOUT_S)
        done = _slurm(["scancel", state.job_id])
        gone = _wait(functools.partial(_has_ended, state.job_id), CANCEL_TIMEOUT_S)
        if gone and not has_said:
            _record_cancelled(run, state.job_id)
        if left := _what_is_left(state.job_id, _sentence(done.stderr)):
            remedy = f"look at its processes there (ps); launch cancel {run.run_id} asks again"
            raise RunFailed("scheduler", left, remedy)


def _without_bad_nodes(run: RunDir) -> list[str]:
    """The option that keeps a new job from nodes that have failed the run."""
    request = run.read_plan().slurm
    hosts = exclude_option(run, () if request is None else request.options)
    return [f"--exclude={hosts}"] if hosts else []


@functools.lru_cache(maxsize=1)
def _queue(_moment: int) -> dict[str, JobState] | None:
    """This user's jobs that the controller knows, without exit codes; None where it doesn't answer."""
    asked = ["--array", "--states=all", f"--user={os.geteuid()}", "--format=%i|%T|%r|%S|%e|%N"]
    done = _slurm(["squeue", "--noheader", *asked])
    if done.returncode:
        return None
    names = ("JobState", "Reason", "StartTime", "EndTime", "NodeList")
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {
        row[0]: _job_state(row[0], dict(zip(names, row[1:], strict=True))) for row in rows if len(row) == 6
    }


def _state_of(run: RunDir, jobs: Sequence[str], told: Mapping[str, JobState]) -> JobState:
    """The state of a run with these jobs, the newest first, of which Slurm told what it knows."""
    if not jobs:
        return JobState("unknown", reason="never submitted")
    job, *earlier = jobs
    state = told.get(job)
    if state is None or not state.active:
        state = next(_active(run, earlier), state)
    if state is None:
        return recorded_state(run, job)
    if _asked(job) != job and (not state.active or ended_for_good(run, job)):
        # How a job ended that is shared says little about one of those who shared it.
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


def _known_state(job: str) -> JobState | None:
    """What the controller or else accounting knows of a job."""
    state = _controller_state(job)
    if state is None or state.status == "unreachable":
        return _accounting_state(job) or state
    return state


def _asked(job: str) -> str:
    """What Slurm is asked for: of several runs that share a job, the whole of it."""
    found = Job.parse(job)
    return job if found is None else found.asked


def _cancel_member(run: RunDir, state: JobState) -> None:
    """End a run that shares its job with others, which go on: the job's script sees the request and kills it."""
    assert state.job_id is not None
    directories.write_text(run.cancel, "user")
    if state.status != "pending":
        _wait(lambda: not run.cancel.exists(), CANCEL_TIMEOUT_S)
    elif run.cancel.exists():
        _record_cancelled(run, state.job_id)
    if run.cancel.exists():
        where = f" on {state.nodes}" if state.nodes else ""
        remedy = f"scancel {_asked(state.job_id)} ends it and those that it shares the job with"
        raise RunFailed("scheduler", f"job {state.job_id} was told to end, and has not{where}", remedy)
    _leave_the_queue(run, state.job_id)


def _leave_the_queue(run: RunDir, job: str) -> None:
    """Take a job that waits out of the queue, once all runs that share it have ended."""
    others = (RunDir(path) for path in run.path.parent.iterdir() if (path / "control" / "jobs").is_file())
    sharing = [(other, other.last_job() or "") for other in others]
    if all(ended_for_good(other, last) for other, last in sharing if _asked(last) == _asked(job)):
        _take_out_of_the_queue(_asked(job))


def _has_ended(job: str) -> bool:
    state = _known_state(job)
    return state is None or not state.active


def _record_cancelled(run: RunDir, job: str) -> None:
    """For a job whose script did not: it was killed, or another job's took the request for its own."""
    status = recorded_state(run, job).status
    if status == "completed":
        run.cancel.unlink(missing_ok=True)
    elif status != "cancelled" or run.cancel.exists():
        from launcher.runs import endings

        endings.cancelled(run)


def _what_is_left(job: str, refusal: str) -> str:
    """A sentence on what is still there of a job that was told to end, and where; empty where nothing is."""
    state = _known_state(job)
    if state is None:
        return ""
    lost = _lost_nodes(state)
    if not state.active:
        given_up = f"Slurm has given up {lost}: processes of it may still be there"
        return f"job {job} has ended, but {given_up}" if lost else ""
    where = f" on {state.nodes}" if state.nodes else ""
    if state.status != "completing":
        return f"job {job} was told to end: {refusal or f'it is still {state.status}{where}'}"
    since = f", since {time.strftime('%H:%M:%S', time.localtime(state.ends_by))}" if state.ends_by else ""
    given_up = f"; Slurm has given up {lost}" if lost else ""
    return f"job {job} was killed, but something of it is still there{where}{since}{given_up}"


def _lost_nodes(state: JobState) -> str:
    """Nodes of a job that have been out of use since its end, with the reason: `node1 (Kill task failed)`."""
    if state.nodes is None:
        return ""
    done = _slurm(["sinfo", "--noheader", "--Node", f"--nodes={state.nodes}", "--format=%N|%H|%E"])
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    changed = [(name, reason, _time(at)) for name, at, reason in rows]
    since = state.ends_by or 0.0
    lost = [f"{name} ({reason})" for name, reason, at in changed if at is not None and at >= since]
    return ", ".join(dict.fromkeys(lost))


def _take_out_of_the_queue(job: str) -> None:
    """Cancel a job that waits; one that has started meanwhile reads the stop file.

    With a state to look for, scancel takes all waiting elements of an array for one; but one that is held stands alone.
    """
    if "_" not in job:
        _slurm(["scancel", "--state=PENDING", job])
        return
    _slurm(["scontrol", "hold", job])
    _slurm(["scancel", "--state=PENDING", job])
    _slurm(["scontrol", "release", job])


def _all_jobs(run: RunDir) -> list[str]:
    """The run's jobs, the newest first, with one that was accepted without saying so."""
    if run.submitting.exists() and not run.all_jobs():
        with contextlib.suppress(LauncherError):
            _take_up_unknown_jobs(run)
    return run.all_jobs()


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met


def _job_number(done: subprocess.CompletedProcess[str]) -> str | None:
    """The number that sbatch answers with, or None where it answered anything else."""
    word = done.stdout.strip().partition(";")[0]
    job = Job.parse(word)
    return None if done.returncode or job is None or job.is_local else word


def _take_up_unknown_jobs(run: RunDir, said: str = "") -> str | None:
    """Put jobs of this run that Slurm has, and control/jobs has not, into control/jobs; the newest, or None.

    They were accepted although sbatch did not say so. Raises RunFailed where Slurm doesn't tell.
    """
    index, _, script = (read_text(run.submitting, directories.WORD_BYTES) or "").partition(" ")
    if script:
        element, _, member = index.partition(".")
        found = [job for job in _elements_of(run, Path(script), said) if str(job.index) == element]
        jobs = [replace(job, member=int(member)) if member.isdecimal() else job for job in found]
    else:
        jobs = _queued(run, run.run_id, "%Z", str(run.path), said)
    known = run.all_jobs()
    new = [str(job) for job in jobs if str(job) not in known]
    for job in new:
        run.add_job(job)
    return new[-1] if new else None


def _unknown_array(run: RunDir, script: Path, said: str) -> str | None:
    """The array that Slurm has of this script, or None. Raises RunFailed where Slurm doesn't tell."""
    found = _elements_of(run, script, said)
    return str(found[-1].number) if found else None


def _elements_of(run: RunDir, script: Path, said: str) -> list[Job]:
    """What is in the queue of the array with this script, which lies in its sweep's directory."""
    return _queued(run, script.parent.name, "%o", str(script), said)


def _queued(run: RunDir, name: str, column: str, wanted: str, said: str) -> list[Job]:
    """Jobs of this name in the queue whose directory (%Z) or script (%o) is the wanted one, the newest last."""
    done = _slurm(["squeue", "--noheader", "--array", f"--name={name}", f"--format=%i|{column}"])
    if done.returncode:
        raise _unanswered(run, said or _sentence(done.stderr))
    rows = [line.partition("|") for line in done.stdout.splitlines()]
    jobs = [Job.parse(job) for job, _, at in rows if at == wanted]
    return sorted((job for job in jobs if job is not None), key=lambda job: job.number)


def _unanswered(run: RunDir, sentence: str) -> RunFailed:
    """The job may have been taken all the same, so the directory that it would run in stays."""
    remedy = f"launch resume {run.run_id} once Slurm answers (scontrol ping): it looks for that job first"
    return RunFailed("scheduler", f"Slurm did not answer: {sentence or 'sbatch said nothing'}", remedy)


def _refusal(run: RunDir, sentence: str) -> LauncherError:
    """A UserError with Slurm's own sentence, or RunFailed where that is no refusal."""
    if not sentence or _UNREACHABLE.search(sentence):
        return _unanswered(run, sentence)
    run.submitting.unlink(missing_ok=True)
    request = run.plan_tree()["slurm"]
    if run.last_job() is None:
        run.discard()
    else:
        run.secrets.unlink(missing_ok=True)
    remedy = _refusal_remedy(sentence, request)
    if gone := [node.host for node in exclusions(run)]:
        remedy += (
            f"; {' and '.join(gone)} failed the run and are left out: rm {run.excluded} lets it have them"
        )
    return UserError(Problem(f"Slurm refuses the job: {sentence}", remedy=remedy))


def _refusal_remedy(sentence: str, request: Mapping[str, object]) -> str:
    asked = ", ".join(
        f"{name}={value}" for name, value in request.items() if value and not isinstance(value, bool)
    )
    remedy = f"asked for: {asked}; nodes, gpus and time are the recipe's, the rest is the cluster profile's"
    if "partition" in sentence.lower():
        known = _slurm(["sinfo", "--noheader", "--format=%R"]).stdout.split()
        guess = nearest(str(request["partition"]), known)
        partitions = f"partitions: {', '.join(dict.fromkeys(known))}"
        return "; ".join(filter(None, [f"did you mean {guess}?" if guess else "", partitions, remedy]))
    return remedy


def _controller_state(job: str, name: str | None = None) -> JobState | None:
    """What the controller knows, where that job has this name; it forgets a job some minutes after its end.

    A controller that doesn't answer hasn't forgotten the job: that is `unreachable`.
    """
    done = _slurm(["scontrol", "-o", "show", "job", _asked(job)])
    if "Invalid job id specified" in done.stderr or done.stdout.strip() == f"Job {_asked(job)} not found":
        return None
    if done.returncode or "JobState=" not in done.stdout:
        said = _sentence(done.stderr) or "it says nothing of the job"
        return JobState("unreachable", job, f"Slurm does not answer: {said}")
    fields: dict[str, str] = {}
    for key, value in _FIELD.findall(done.stdout):
        fields.setdefault(key, value)
    own = fields.get("JobName")
    is_element = "_" in job and name is not None and name.startswith(f"{own}.")
    return _job_state(job, fields) if name in (None, own) or is_element else None


def _accounting_state(job: str) -> JobState | None:
    """What accounting knows, where the cluster has any."""
    return _accounting_states([job]).get(job)


def _accounting_states(jobs: Sequence[str]) -> dict[str, JobState]:
    """What accounting knows of jobs, by their ids."""
    if not jobs:
        return {}
    names = ("JobState", "ExitCode", "StartTime", "EndTime", "NodeList")
    columns = "--format=JobID,State,ExitCode,Start,End,NodeList"
    done = _slurm(
        [
            "sacct",
            "--allocations",
            "--noheader",
            "--parsable2",
            f"--jobs={','.join(map(_asked, jobs))}",
            columns,
        ]
    )
    rows = [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    found = {row[0]: dict(zip(names, row[1:], strict=False)) for row in rows}
    return {job: _job_state(job, found[_asked(job)]) for job in jobs if _asked(job) in found}


def _job_state(job: str, fields: Mapping[str, str]) -> JobState:
    word = fields["JobState"].split()[0].rstrip("+")
    code, _, signal_number = fields.get("ExitCode", "").partition(":")
    state = JobState(
        STATUSES.get(word, "unknown"),
        job,
        reason=_known(fields.get("Reason")),
        nodes=_known(fields.get("NodeList")),
        started_at=_time(fields.get("StartTime")),
        ends_by=_time(fields.get("EndTime")),
    )
    if state.status == "pending":
        return replace(state, waits_for=_WAITS.get(re.sub(r"\W.*", "", state.reason or "")))
    if state.active:
        return state
    exit_code = 128 + int(signal_number) if signal_number not in ("", "0") else int(code or 0)
    stopped = word == "FAILED" and exit_code == 75
    return replace(
        state,
        status="stopped" if stopped else state.status,
        reason=state.reason if word in ("COMPLETED", "FAILED") else word,
        exit_code=exit_code,
    )


def _known(value: str | None) -> str | None:
    return None if value in (None, "", "None", "(null)", "None assigned", "Unknown", "N/A") else value


def _time(value: str | None) -> float | None:
    text = _known(value)
    # Slurm writes local time without a zone, which is what `timestamp` takes it for.
    return None if text is None else dt.datetime.fromisoformat(text).timestamp()


def _sentence(stderr: str) -> str:
    """What Slurm said, on one line and without its prefixes."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))


def _slurm(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; one that doesn't return has failed. Raises UserError where it isn't installed."""
    try:
        return subprocess.run(
            command,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except FileNotFoundError:
        remedy = "log in to the cluster, use executor=local, or try: make cluster"
        raise UserError(Problem(f"Slurm is not here: no {command[0]} on PATH", remedy=remedy)) from None
    except subprocess.TimeoutExpired:
        said = f"{command[0]} did not return in {COMMAND_TIMEOUT_S:.0f} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)


def _partition_text(line: str) -> str:
    partition, available, nodes, state, resources = (line.split() + ["?"] * 5)[:5]
    gpus = "no GPUs" if resources in ("(null)", "?") else resources
    return f"{partition} ({available}): {nodes} nodes {state}, {gpus}"


def _partition_gpus(lines: Sequence[str], partition: str | None) -> Iterator[int]:
    for line in lines:
        name, _, resources = line.strip().partition(" ")
        asked = name.endswith("*") if partition is None else name.rstrip("*") in partition.split(",")
        if asked:
            yield sum(int(count) for count in GPU_RESOURCE.findall(resources))


EXECUTOR = SlurmExecutor
