"""Runs a job on this machine: `bash job.sh` in a session of its own, so that a Ctrl-C is the command line's to handle."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import host_memory
from launcher.control_groups import cores
from launcher.errors import UserError
from launcher.executors.shared.allocation import allocated
from launcher.executors.shared.base import (
    Forecast,
    JobState,
    Remark,
    Verdict,
    prepare_start,
    recorded_state,
    recording_its_end,
    refuse_idle,
    request_stop,
)
from launcher.executors.shared.site import Node, Site
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.files import open_to_append
from launcher.runs.requests import ask_to_end

if TYPE_CHECKING:
    from launcher.recipe.cluster import Cluster
    from launcher.runs.results import Error, Outcome

NO_SCHEDULER = "there is no scheduler on this machine"
END_TIMEOUT_S = 10.0
"""Longest that the script may take to record its end once everything under it is dead."""


GIVE_UP_S = 30.0
"""Longest that processes may take to be gone once they are killed."""


class LocalExecutor:
    """One job on this machine; see `Executor`."""

    takes_nodes = False
    script = "job.sh"
    template = "job.sh.j2"
    pack_template = None
    array_template = None

    def __init__(self) -> None:
        self._script: subprocess.Popen[bytes] | None = None

    @staticmethod
    def started(job: str) -> bool:
        """Whether a job of this id is one of this executor's."""
        return job.startswith("local ")

    def start(self, run: RunDir) -> str:
        """Start job.sh; what it prints goes to logs/job_local.log."""
        with run.locked():
            environment = _with_threads(run, prepare_start(run, self.state(run), os.environ))
            with os.fdopen(open_to_append(run.job_log("local")), "ab") as log:
                self._script = subprocess.Popen(
                    ["bash", str(run.job_sh)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=run.path,
                    start_new_session=True,
                )
            job = f"local {self._script.pid}"
            run.add_job(job)
        return job

    def start_together(self, script: Path, runs: Sequence[RunDir], each: int = 1) -> str:
        """Nobody here starts runs by itself, so there is no such script."""
        raise AssertionError(script, runs, each)

    def state(self, run: RunDir) -> JobState:
        """Which script is alive, or how the run directory says that the newest ended."""
        job = run.last_job()
        if job is None:
            return JobState("waiting", reason="never started")
        last = run.last_attempt()
        for living in self._living(run):
            record = None if last is None else last.read()
            started = record.started_at if record is not None and record.job_id == living else None
            return JobState("running", living, started_at=started)
        state = recorded_state(run, job)
        if self._script is not None and job == f"local {self._script.pid}":
            return replace(state, exit_code=self._script.returncode)
        return state

    def states(self, runs: Sequence[RunDir]) -> list[JobState]:
        """That of each."""
        return [self.state(run) for run in runs]

    def stop(self, run: RunDir) -> None:
        """Ask the training to save and stop."""
        refuse_idle(run, self.state(run))
        request_stop(run)

    def cancel(self, run: RunDir) -> None:
        """Kill everything under each living script, which then records its end."""
        for job in self._living(run):
            self._cancel(run, job)

    def inject(self, run: RunDir, fault: str, rank: int) -> str:
        """Harm a rank; a machine that is lost takes the script along, which records nothing then."""
        from launcher.executors.shared.injection import inject

        scripts = [_pid(job) for job in self._living(run)] if fault == "node" else []
        for script in scripts:
            os.kill(script, signal.SIGSTOP)
        done = inject(run, fault, rank)
        for script in scripts:
            os.kill(script, signal.SIGKILL)
        return f"{done}, and to the script" if scripts else done

    def is_set_up(self) -> bool:
        """This machine always is."""
        return True

    def look(self) -> Iterator[Remark]:
        """Nothing needs to be there for jobs here."""
        yield from ()

    def gpus_per_node(self, partition: str | None) -> int | None:
        """Nobody else is asked about this machine."""
        del partition
        return None

    def site(self) -> Site:
        """Raises UserError: this machine alone needs no profile."""
        raise UserError(
            NO_SCHEDULER,
            remedy="recipes run here without a profile; log in to the cluster, or try: make cluster",
        )

    def probe(self, profile: Cluster, script: str) -> str:  # noqa: ARG002
        """Raises UserError as `site` does."""
        raise UserError(NO_SCHEDULER)

    def nodes(self, profile: Cluster, wanted: str | None, *, may_share: bool) -> Sequence[Node]:
        """Raises UserError as `site` does."""
        del profile, wanted, may_share
        raise UserError(NO_SCHEDULER)

    def run_on_nodes(
        self, profile: Cluster, hosts: Sequence[str], gpus: int, script: str, options: Mapping[str, str]
    ) -> str | None:
        """There are no such nodes."""
        raise AssertionError(profile, hosts, gpus, script, options)

    def node_capacity(self, partition: str | None, *, largest: bool = False) -> tuple[int | None, int | None]:
        """What this machine has left, or the least that a control group or a job around this process allows."""
        del partition, largest
        own_cores, own_memory = allocated()
        sizes = (host_memory.available(), host_memory.allowed(), own_memory)
        known = [size for size in sizes if size is not None]
        return min(cores(), own_cores or cores()), min(known, default=None)

    def predicted_start(self, script: str) -> Forecast | None:
        """It starts at once."""
        del script
        return None

    def grace_s(self, partition: str | None) -> float | None:
        """Nobody here ends a job for another."""
        del partition
        return None

    def ends_by(self, job: str) -> float | None:
        """There is no time limit here."""
        del job
        return math.inf

    def may_start_again(self, job: str | None) -> bool:
        """Nothing here starts a job again by itself."""
        del job
        return False

    def addresses(self, hosts: Sequence[str]) -> tuple[str, ...]:
        """The ranks of a job here meet on loopback."""
        del hosts
        return ("127.0.0.1",)

    def verdict(self, attempt: Attempt) -> Verdict:
        """Nobody else decides about a job here."""
        del attempt
        return None

    def _cancel(self, run: RunDir, job: str) -> None:
        from launcher.executors.shared.processes import kill_all, kill_below, undying
        from launcher.runs import endings

        script = _pid(job)
        stands = ask_to_end(run)
        kill_below(script)
        began = time.monotonic()
        while self._is_alive(run, job):
            waited_s = time.monotonic() - began
            if waited_s > END_TIMEOUT_S:
                kill_below(script)
                kill_all([script])
            if waited_s > GIVE_UP_S:
                raise undying(run, [script])
            time.sleep(0.02)
        if run.cancel.exists() or not stands:
            with recording_its_end(run):
                endings.cancelled(run)

    def _living(self, run: RunDir) -> list[str]:
        """Jobs whose scripts are alive, the newest first: more than one only where the file system has no locks."""
        return [job for job in run.all_jobs() if self._is_alive(run, job)]

    def _is_alive(self, run: RunDir, job: str) -> bool:
        pid = _pid(job)
        if self._script is not None and self._script.pid == pid:
            return self._script.poll() is None
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(run.job_sh) in command


def end_unrecorded(run: RunDir, job: str, status: Outcome, error: Error | None) -> None:
    """End a run whose script died without recording it: what it left running is killed, its keys are removed.

    Raises RunFailed where something can't be killed.
    """
    from launcher.executors.shared.processes import kill_all, left_by, undying
    from launcher.runs import endings

    began = time.monotonic()
    while left := list(left_by(run, job)):
        kill_all(left)
        if time.monotonic() - began > GIVE_UP_S:
            raise undying(run, left)
        time.sleep(0.02)
    endings.died(run, status, error)


def _with_threads(run: RunDir, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job that computes on as many threads as its share of the processors lets run at once.

    PyTorch and the job's script see the cores that there are, and no quota of their time.
    """
    plan, threads = run.read_plan(), cores()
    if plan.device != "cpu" or threads == len(os.sched_getaffinity(0)):
        return dict(environment)
    return {"OMP_NUM_THREADS": str(max(1, threads // plan.gpus)), **environment}


def _pid(job: str) -> int:
    return int(job.removeprefix("local "))


EXECUTOR = LocalExecutor
