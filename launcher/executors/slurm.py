"""Runs jobs through Slurm's own commands. Works without accounting: a job's state is asked of the controller, then of
accounting where there is some, then of what the job itself left in the run directory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.commands import TIMEOUT_S, ask, run_command
from launcher.errors import RunFailed
from launcher.executors.shared import slurm_nodes, slurm_records, slurm_site, slurm_times
from launcher.executors.shared.base import (
    Forecast,
    JobState,
    Remark,
    Verdict,
    prepare_start,
    refuse_idle,
    request_stop,
)
from launcher.executors.shared.site import Node, Site
from launcher.executors.shared.slurm_cancelling import (
    cancel_member,
    kill,
    leave_the_queue,
    take_out_of_the_queue,
)
from launcher.executors.shared.slurm_commands import COMMAND_TIMEOUT_S, message_of, of_cluster, run_slurm
from launcher.executors.shared.slurm_records import job_of
from launcher.executors.shared.slurm_states import (
    STATUSES,
    accounting_states,
    asked_for,
    known_state,
    queued_jobs,
    state_of,
)
from launcher.executors.shared.slurm_submission import (
    all_jobs,
    job_number,
    refusal,
    refuse_without_slurm,
    take_up_unknown_jobs,
    unknown_array,
    without_bad_nodes,
)
from launcher.network import resolve
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text

if TYPE_CHECKING:
    from launcher.recipe.cluster import Cluster

GPU_RESOURCE = re.compile(r"(?:^|,)gpu:(?:[^:,()]+:)?(\d+)")


class SlurmExecutor:
    """Jobs of one Slurm cluster, the one that the environment's Slurm commands talk to; see `Executor`."""

    takes_nodes = True
    script = "job.sbatch"
    template = "job.sbatch.j2"
    pack_template = "pack.sbatch.j2"
    array_template = "array.sbatch.j2"

    def start(self, run: RunDir) -> str:
        """Submit job.sbatch. Raises UserError with Slurm's own sentence where the request is refused."""
        refuse_without_slurm([run])
        with run.locked():
            environment = self._prepare(run)
            before = run.all_jobs()
            run.submitting.touch(mode=0o600)
            words = [*without_bad_nodes(run), str(run.job_sbatch)]
            done = _submit(words, environment, expedited=_may_be_expedited(run))
            job = job_number(done)
            if job is not None:
                run.add_job(job)
            else:
                job = take_up_unknown_jobs(run, message_of(done.stderr), before)
            if job is not None:
                run.submitting.unlink(missing_ok=True)
                return job
        raise refusal(run, message_of(done.stderr))

    def start_together(self, script: Path, runs: Sequence[RunDir], each: int = 1) -> str:
        """Submit an array of which each element is the job of one run, known to it as ARRAY_INDEX, or of `each` runs, which
        know it as ARRAY_INDEX.MEMBER."""
        refuse_without_slurm(runs)
        places = [str(n) if each == 1 else f"{n // each}.{n % each}" for n in range(len(runs))]
        with contextlib.ExitStack() as locks:
            for run in runs:
                locks.enter_context(run.locked())
            environments = [self._prepare(run) for run in runs]
            for place, run in zip(places, runs, strict=True):
                write_text(run.submitting, f"{place} {script}")
            # Runs that share a job put it back by themselves.
            alone = each == 1 and _may_be_expedited(runs[0])
            done = _submit([str(script)], environments[0], expedited=alone)
            array = job_number(done) or unknown_array(runs[0], script, message_of(done.stderr))
            if array is None:
                refusals = [refusal(run, message_of(done.stderr), each) for run in runs]
                raise refusals[0]
            for place, run in zip(places, runs, strict=True):
                if run.last_job() != f"{array}_{place}":  # it may have started already, and say so itself
                    run.add_job(f"{array}_{place}")
                run.submitting.unlink(missing_ok=True)
        return array

    def _prepare(self, run: RunDir) -> dict[str, str]:
        """Look for a job that was accepted without saying so, then `prepare_start`."""
        if run.submitting.exists():
            take_up_unknown_jobs(run)
        return prepare_start(run, self.state(run), os.environ)

    def state(self, run: RunDir) -> JobState:
        """Ask the controller, then accounting, then the run directory."""
        jobs = all_jobs(run)
        state = known_state(jobs[0]) if jobs else None
        return state_of(run, jobs, {} if state is None else {jobs[0]: state})

    def states(self, runs: Sequence[RunDir]) -> list[JobState]:
        """Ask once for what the controller knows and once for what accounting knows of the rest.

        Only the exit code of a job that ended a moment ago is asked for alone.
        """
        jobs = [all_jobs(run) for run in runs]
        newest = [found[0] for found in jobs if found]
        queue = queued_jobs()
        if queue is None:
            told = {job: JobState("unreachable", job, "Slurm does not answer") for job in newest}
            return [state_of(run, found[:1], told) for run, found in zip(runs, jobs, strict=True)]
        told = accounting_states([job for job in newest if asked_for(job) not in queue])
        for job in newest:
            listed = queue.get(asked_for(job))
            if listed is not None:
                state = replace(listed, job_id=job) if listed.active else known_state(job)
                told |= {} if state is None else {job: state}
        known = [[job for job in found if job == found[0] or asked_for(job) in queue] for found in jobs]
        return [state_of(run, found, told) for run, found in zip(runs, known, strict=True)]

    def stop(self, run: RunDir) -> None:
        """Take a waiting job out of the queue; ask a running one to save and stop."""
        state = self.state(run)
        refuse_idle(run, state)
        assert state.job_id is not None
        request_stop(run)
        if state.status == "pending":
            is_alone = asked_for(state.job_id) == state.job_id
            if is_alone:
                take_out_of_the_queue(state.job_id)
            if not is_alone or self.state(run).status == "cancelled":
                from launcher.runs import endings

                endings.stopped(run)
                leave_the_queue(run, state.job_id)

    def cancel(self, run: RunDir) -> None:
        """Kill the job, and any other that the run still has; returns once they are gone."""
        while (state := self.state(run)).active:
            if state.status == "unreachable":
                remedy = f"launch stop {run.run_id} works without it"
                raise RunFailed("scheduler", f"{state.reason}; nothing was killed", remedy)
            if state.job_id is not None and asked_for(state.job_id) != state.job_id:
                cancel_member(run, state)
            else:
                kill(run, state)

    def inject(self, run: RunDir, fault: str, rank: int) -> str:
        """Harm a rank from a step of the job's; a node that is lost is down in Slurm, too, where that may be done."""
        from launcher.executors.shared.slurm_harm import harm

        job = self.state(run).job_id
        if job is None:
            raise RunFailed("drill", f"{run.run_id} has no job")
        return harm(run, job, fault, rank)

    def is_set_up(self) -> bool:
        """Whether sbatch is on PATH and has a configuration: the distribution's client alone has no cluster.

        A controller that doesn't answer at the moment is still a cluster: nothing is trained on its login node instead.
        """
        if shutil.which("sbatch") is None:
            return False
        try:
            done = run_command(["sinfo", "--noheader"], TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            return True
        return "Could not establish a configuration source" not in done.stderr

    def look(self) -> Iterator[Remark]:
        """Whether there is a cluster that answers, and what its partitions have."""
        if shutil.which("sbatch") is None:
            yield Remark("ok", "sbatch is not on PATH: runs are local")
        elif not self.is_set_up():
            message = "sbatch is there, but has no cluster: runs are local"
            yield Remark("note", message, "set SLURM_CONF, or: make cluster")
        elif (listed := ask(["sinfo", "--noheader", "--format=%P %a %D %T %G"])) is None:
            message = "sbatch is there, but sinfo gets no answer"
            yield Remark("broken", message, "is this a login node, and is slurmctld up?")
        else:
            rows = [line.split() for line in listed.splitlines()]
            yield from (Remark("ok", _partition_text(*row)) for row in rows if len(row) == 5)

    def gpus_per_node(self, partition: str | None) -> int | None:
        """Most GPUs of a node in the partitions, the default one where None; None where Slurm doesn't answer."""
        output = ask(["sinfo", "--all", "--noheader", "--format=%P %G"])
        return None if output is None else max(_partition_gpus(output.splitlines(), partition), default=0)

    def site(self) -> Site:
        """The partitions, accounts and container runtimes that Slurm names."""
        return slurm_site.read_site()

    def probe(self, profile: Cluster, script: str) -> str:
        """Through srun, with one GPU where the profile has some."""
        options = _job_options(profile, 1 if profile.gpus_per_node else 0)
        return slurm_site.run_on_a_node(options, script)

    def nodes(self, profile: Cluster, wanted: str | None, *, may_share: bool) -> Sequence[Node]:
        """What sinfo says of them."""
        return slurm_nodes.read_nodes(profile.partition, wanted, may_share=may_share)

    def run_on_nodes(
        self, profile: Cluster, hosts: Sequence[str], gpus: int, script: str, options: Mapping[str, str]
    ) -> str | None:
        """Through srun."""
        asked = {**_job_options(profile, gpus), **options}
        return slurm_nodes.run_on_nodes(asked, hosts, script, profile.pass_env)

    def node_capacity(self, partition: str | None, *, largest: bool = False) -> tuple[int | None, int | None]:
        """The least of the nodes in the partitions, or the most, of the default one where None."""
        output = ask(["sinfo", "--all", "--noheader", "--exact", "--format=%P %c %m"]) or ""
        rows = [line.split() for line in output.splitlines()]
        asked = [
            (int(cores), int(mebibytes) << 20)
            for name, cores, mebibytes in (row for row in rows if len(row) == 3)
            if _is_among(name, partition)
        ]
        bound = max if largest else min
        cores, sizes = zip(*asked, strict=True) if asked else ((None,), (None,))
        return bound(cores), bound(sizes)

    def predicted_start(self, script: str) -> Forecast | None:
        """What sbatch --test-only says."""
        return slurm_times.predicted_start(script)

    def grace_s(self, partition: str | None) -> float | None:
        """GraceTime of the partitions that give way, and KillWait."""
        return slurm_times.grace_s(partition)

    def ends_by(self, job: str) -> float | None:
        """EndTime of the job, which moves where its limit is changed, or it is preempted with a grace."""
        return slurm_times.ends_by(job)

    def may_start_again(self, job: str | None) -> bool:
        """Whether the job is in the queue, which is asked for once in some seconds however many runs are looked at."""
        state = (queued_jobs() or {}).get(job or "")
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
        output = (
            ask(["scontrol", "-o", "show", "job", asked_for(str(attempt.job_id))], COMMAND_TIMEOUT_S) or ""
        )
        found = job_of(output)
        if not found.word or STATUSES.get(found.word) == "running":
            return None
        if found.restarts > attempt.restart_count:
            return "requeued"
        if found.reason == "TimeLimit":
            return None
        if found.reason == "NodeDown":
            return "lost"
        is_preempted = found.preempted_at is not None and found.preempted_at >= (found.started_at or 0)
        return "preempted" if is_preempted else "cancelled"


def _job_options(profile: Cluster, gpus: int) -> dict[str, object]:
    """What a small job asks of Slurm by srun, with so many GPUs on a node."""
    kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
    gpu = f"{kind}{gpus}" if profile.gpu_request != "gres" else f"gpu:{kind}{gpus}"
    names = ("partition", "account", "qos", "constraint", "reservation")
    asked = {name: getattr(profile, name) for name in names}
    return {**asked, profile.gpu_request: gpu if gpus else None}


def _submit(
    words: Sequence[str], environment: Mapping[str, str], *, expedited: bool
) -> subprocess.CompletedProcess[str]:
    """Run sbatch. An `expedited` job starts again at once, before all others, where Slurm loses one of its nodes.

    Slurm holds such a job in the queue where its script fails on healthy nodes, so the script is told and ends well.
    """
    if expedited:
        words, environment = ["--requeue=expedite", *words], {**environment, "LAUNCHER_EXPEDITED": "yes"}
    try:
        return run_slurm(["sbatch", "--parsable", *of_cluster(), *words], environment)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("Slurm may have taken the job: launch status shows it, launch cancel ends it")
        raise


def _may_be_expedited(run: RunDir) -> bool:
    """Whether a job of the run asks for that, which Slurm has from 25.11 on where a site switches it on."""
    request = run.read_plan().request
    return request is not None and request.requeue and slurm_records.config(TIMEOUT_S).expedites


def _partition_text(partition: str, available: str, nodes: str, state: str, resources: str) -> str:
    gpus = "no GPUs" if resources == "(null)" else resources
    return f"{partition} ({available}): {nodes} nodes {state}, {gpus}"


def _is_among(name: str, partition: str | None) -> bool:
    """Whether sinfo's name of a partition is one of those asked for; the default one, which it stars, where none is."""
    return name.endswith("*") if partition is None else name.rstrip("*") in partition.split(",")


def _partition_gpus(lines: Sequence[str], partition: str | None) -> Iterator[int]:
    for line in lines:
        name, _, resources = line.strip().partition(" ")
        if _is_among(name, partition):
            yield sum(int(count) for count in GPU_RESOURCE.findall(resources))


EXECUTOR = SlurmExecutor
