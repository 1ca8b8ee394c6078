"""What an executor is: it starts, watches, stops and kills the job of a run, and knows nothing of what is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from launcher.errors import DamagedFile, RunFailed, UserError
from launcher.executors.shared.environment import split_environment
from launcher.executors.shared.site import Node, Site
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import MAKE_ROOM, kind_of_refusal, takes_no_writes
from launcher.runs.files import write_json
from launcher.runs.provenance import note_versions
from launcher.runs.requests import ask
from launcher.runs.trust import checked

if TYPE_CHECKING:
    from launcher.recipe.cluster import Cluster

Status = Literal[
    "waiting",
    "pending",
    "running",
    "completing",
    "completed",
    "stopped",
    "failed",
    "cancelled",
    "preempted",
    "unreachable",
    "unknown",
]
ACTIVE: tuple[Status, ...] = ("pending", "running", "completing", "unreachable")
"""A job with one of these may still write to its run directory; `unreachable`: its scheduler doesn't answer."""


@dataclass(frozen=True)
class JobState:
    """What is known about the newest job of a run; times are Unix seconds."""

    status: Status
    """`waiting`: planned, and no job was ever started; `pending`: its scheduler has the job in the queue."""
    job_id: str | None = None
    reason: str | None = None
    """Why it waits, or how it ended, in the scheduler's word: `Resources`, `NODE_FAIL`."""
    nodes: str | None = None
    """Where it runs, as the scheduler writes it: `node[1-4]`."""
    started_at: float | None = None
    """When it started, or is expected to."""
    ends_by: float | None = None
    """When its time limit is up, or it ended."""
    exit_code: int | None = None
    waits_for: str | None = None
    """Why it waits, in a sentence, where the scheduler's word is one that is known here."""
    remedy: str | None = None
    """What helps, where the scheduler ended it and its word for that is one that is known here."""

    @property
    def active(self) -> bool:
        """Whether the job may still write to its run directory."""
        return self.status in ACTIVE


Verdict = Literal["cancelled", "requeued", "preempted", "lost"] | None
"""What a scheduler has decided about a job while its script still runs: to end it for another one and not put it back
(`preempted`), or since one of its nodes is `lost`; None where it has decided nothing."""


class Remark(NamedTuple):
    """What somebody who looks at an executor should know: `broken` is what no job works with, `note` what some don't."""

    state: Literal["ok", "note", "broken"]
    text: str
    remedy: str | None = None


class Forecast(NamedTuple):
    """What a scheduler says of a job that it is not given yet."""

    starts_at: float | None = None
    """Unix seconds."""
    refusal: str | None = None
    """Why it wouldn't take such a job, in its own words."""


class Executor(Protocol):
    """One way to run jobs. Every method can be called by another process than the one that started the job."""

    takes_nodes: ClassVar[bool]
    """Whether it can give a job several nodes, as schedulers do."""
    script: ClassVar[str]
    """The file of a run directory that is its job."""
    template: ClassVar[str]
    """The file in slurm/ that the job is rendered from."""
    pack_template: ClassVar[str | None]
    """The same, where several runs share each of its jobs."""
    array_template: ClassVar[str | None]
    """The file in slurm/ that many runs are submitted by at once; None where each of them must be started."""

    def is_set_up(self) -> bool:
        """Whether jobs can be started from this machine."""

    def look(self) -> Iterator[Remark]:
        """What `launch doctor` says of it."""

    def gpus_per_node(self, partition: str | None) -> int | None:
        """Most GPUs of a node, in the partition where there are such; None where it doesn't say."""

    def site(self) -> Site:
        """What there is to know for a first profile. Raises UserError where it takes no jobs for other machines."""

    def probe(self, profile: Cluster, script: str) -> str:
        """What a script prints in a job of a minute on one node, asked for as the profile says.

        Raises UserError where the job is refused, RunFailed where it doesn't start in time.
        """

    def nodes(self, profile: Cluster, wanted: str | None, *, may_share: bool) -> Sequence[Node]:
        """The nodes of the profile's partition, or those of a list in the scheduler's notation.

        A job that may share them needs no node to itself. Raises UserError where there are none.
        """

    def run_on_nodes(
        self, profile: Cluster, hosts: Sequence[str], gpus: int, script: str, options: Mapping[str, str]
    ) -> str | None:
        """Run a script once on each of these nodes with all its GPUs, in a job of minutes; what it printed.

        None where they can't be had now. It is ended after two minutes. Raises UserError where the job is refused.
        """

    def node_capacity(self, partition: str | None, *, largest: bool = False) -> tuple[int | None, int | None]:
        """Cores and bytes of main memory that each of its nodes has, or the largest; None where unknown.

        Of the nodes in the partition where there are such.
        """

    def predicted_start(self, script: str) -> Forecast | None:
        """When a job with this script would start; None where nobody can say within seconds, or it starts at once."""

    def grace_s(self, partition: str | None) -> float | None:
        """Seconds that a job is given to save before it is killed for another one; None where that doesn't happen, or unknown."""

    def start(self, run: RunDir) -> str:
        """Start the rendered job of a new run, or again after it ended; returns the job's id.

        Raises UserError where the request is refused; then a run that never had a job is removed again.
        """

    def start_together(self, script: Path, runs: Sequence[RunDir], each: int = 1) -> str:
        """Submit the script that starts all of these runs, in their order, `each` of them in one job; returns its id.

        Raises as `start` does.
        """

    def state(self, run: RunDir) -> JobState:
        """What is known about the newest job."""

    def states(self, runs: Sequence[RunDir]) -> list[JobState]:
        """The same of many runs, in their order; a scheduler is asked once for all of them, as far as it can be."""

    def stop(self, run: RunDir) -> None:
        """Ask the job to save and stop; one that still waits in a queue is taken out of it."""

    def cancel(self, run: RunDir) -> None:
        """Kill the job now; result.json says `cancelled`. Does nothing where there is no active job."""

    def inject(self, run: RunDir, fault: str, rank: int) -> str:
        """Do harm to a rank of the running job, or to all on its node; see `injection`. Returns what was done.

        Raises RunFailed where it couldn't be done.
        """

    def may_start_again(self, job: str | None) -> bool:
        """Whether a job that has ended may still be started again by a scheduler."""

    # Asked on the node, by the job's own script

    def addresses(self, hosts: Sequence[str]) -> tuple[str, ...]:
        """One address or resolvable name of each node of the job, in order."""

    def ends_by(self, job: str) -> float | None:
        """When the time limit of a running job is up, in Unix seconds: infinity where it has none; None where unknown."""

    def verdict(self, attempt: Attempt) -> Verdict:
        """What the scheduler has decided about the job of this attempt."""


def prepare_start(run: RunDir, state: JobState, environ: Mapping[str, str]) -> dict[str, str]:
    """Make the run ready for a new job: old requests withdrawn, keys stored; returns the job's environment.

    Raises UserError where a job is still active, RunFailed where nobody can say whether one is.
    """
    if state.status == "unreachable":
        raise RunFailed(
            "scheduler",
            f"{state.reason}; job {state.job_id} may still be there",
            f"launch resume {run.run_id}, once it answers",
        )
    if state.active:
        raise UserError(
            f"already has a job: {state.job_id}, {state.status}",
            field="run",
            value=run.run_id,
            remedy=f"launch status {run.run_id}, or first launch stop {run.run_id}",
        )
    checked(run)
    note_versions(run)
    run.stop.unlink(missing_ok=True)
    run.cancel.unlink(missing_ok=True)
    environment = split_environment(environ, run.read_plan().passed_variables)
    if environment.secrets:
        write_json(run.secrets, environment.secrets, mode=0o600)
    else:
        run.secrets.unlink(missing_ok=True)
    return environment.passed


def refuse_idle(run: RunDir, state: JobState) -> None:
    """Raises UserError where there is no job that could be stopped."""
    if not state.active:
        raise UserError(
            f"has no job to stop: {state.status}", field="run", value=run.run_id, remedy="launch status"
        )


def request_stop(run: RunDir) -> None:
    """Write the stop file; training polls it. Raises RunFailed where the run directory takes no writes."""
    try:
        ask(run.stop)
    except OSError as error:
        if not takes_no_writes(error):
            raise
        text = f"can't be asked to save and stop: {error.filename}: {error.strerror}; it goes on"
        remedy = f"{MAKE_ROOM}, then again; launch cancel {run.run_id} kills it as it is"
        raise RunFailed(kind_of_refusal(error), f"{run.run_id} {text}", remedy) from None


@contextlib.contextmanager
def recording_its_end(run: RunDir) -> Iterator[None]:
    """Around the record that a run was killed. Raises RunFailed where its directory takes no writes."""
    try:
        yield
    except OSError as error:
        if not takes_no_writes(error):
            raise
        text = f"{run.run_id} is killed, which can't be recorded: {error.filename}: {error.strerror}"
        remedy = f"{MAKE_ROOM}; launch resume {run.run_id} goes on from its newest checkpoint then"
        raise RunFailed(kind_of_refusal(error), text, remedy) from None


def ended_for_good(run: RunDir, job: str) -> bool:
    """Whether a run is over by its own record, although its job may go on, for others that share it, or start again.

    So it is where a newer job has taken its place, too.
    """
    jobs = run.all_jobs()
    if jobs and job in jobs[1:]:
        return True
    result, last = run.read_result(), run.last_attempt()
    record = None if last is None else last.read()
    if result is None or record is None or record.job_id != job:
        return result is not None and result.job_id == job
    return record.ended_at is not None and record.next == "stay"


def recorded_state(run: RunDir, job: str | None) -> JobState:
    """What the run directory itself says, for a job that the scheduler no longer knows."""
    try:
        result = run.read_result()
    except DamagedFile:
        result = None
    attempt = run.last_attempt()
    record = attempt.read() if attempt is not None else Attempt(0)
    if result is None or job not in (result.job_id, record.job_id):
        return JobState("unknown", job, "the job is gone and left no result", started_at=record.started_at)
    return JobState(
        result.status,
        job,
        nodes=",".join(record.hosts) or None,
        started_at=record.started_at,
        ends_by=record.ended_at,
        exit_code=record.exit_code,
    )
