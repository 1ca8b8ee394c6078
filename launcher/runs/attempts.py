"""One start of a run: the records of attempts/N/."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.runs.records import Extensible


@dataclass(frozen=True)
class Attempt(Extensible):
    """When an attempt began and ended, where, and how; times are Unix seconds."""

    number: int
    started_at: float | None = None
    job_id: str | None = None
    restart_count: int = 0
    hosts: tuple[str, ...] = ()
    executor: str | None = None
    log_offset: int = 0
    """Bytes of the job's log before this attempt."""
    ended_at: float | None = None
    """None too where it died before it could record its end."""
    exit_code: int | None = None
    process_code: int | None = None
    """Code of the process that the job script waited for."""
    stop: str | None = None
    """Who asked for a stop."""
    log_end: int | None = None
    status: str | None = None
    """How it ended, `interrupted` where nobody could record that; None while it may still run."""
    next: str | None = None
    wait_s: int = 0
    """Seconds before what comes next."""
    last_step: int | None = None
    saved_step: int | None = None
    """Step of the newest finished checkpoint at its end; 0 where there was none."""
    chain: str | None = None
    """The first of the jobs that took each other's place, where Slurm doesn't put jobs back; None for that one itself."""
    up_s: float | None = None
    """The first node's monotonic clock, which nobody sets, at its start."""
    lasted_s: float | None = None
    """Seconds until its end by that clock."""

    @property
    def seconds(self) -> float | None:
        """How long it lasted, whatever the time of day was set to meanwhile; None where its end is not on record."""
        if self.lasted_s is not None or self.started_at is None or self.ended_at is None:
            return self.lasted_s
        return max(0.0, self.ended_at - self.started_at)

    @property
    def went_on_by_itself_in(self) -> str | None:
        """What is one job for those who count its attempts: nobody has started it again by hand."""
        return self.chain or self.job_id


@dataclass(frozen=True)
class Member(Extensible):
    """attempts/N/health/rank_R.json: a rank that has started, and where the watcher of its node finds it."""

    rank: int
    node: int
    """From 0, in the order of the attempt's hosts."""
    pid: int
    started: int
    """As the kernel has it: a process number comes again, both together don't."""
    descriptor: int
    """Open file of the rank that its beats are in."""
    agent: int | None = None
    """Process of torchrun, where there is one, and when it started."""
    agent_started: int | None = None


@dataclass(frozen=True)
class FailedRank:
    """A rank that torchrun saw fail."""

    rank: int
    exit_code: int
    """As Python gives it: negative for a signal."""
    seen_at: float
    """Unix seconds."""


@dataclass(frozen=True)
class FailedNode:
    """attempts/N/failed_ranks/NODE.json: every rank of a node that failed."""

    ranks: tuple[FailedRank, ...]


@dataclass(frozen=True)
class Gone(Extensible):
    """attempts/N/gone.json: the first rank whose process was gone before its end, as the watcher of its node saw it."""

    rank: int
    node: int
    """From 0, in the order of the attempt's hosts."""
    phase: str
    """What it was doing."""
    held: int | None = None
    """Bytes of main memory that it had when it was last looked at."""
    allowed: int | None = None
    """Bytes that its node has, or that its job may use."""
    for_memory: bool | None = None
    """Whether the kernel killed a process for want of memory in these seconds; None where it doesn't say."""


@dataclass(frozen=True)
class Hang(Extensible):
    """attempts/N/hang.json: the attempt was ended because nothing happened any more."""

    sentence: str
    """What was seen: `no step for 65 s: rank 1 on node3 is in backward`."""
    silent_s: float
    at: float
    """Unix seconds."""
    rank: int | None = None
    """The rank that is behind the others; None where none is, as when all wait for each other."""
    host: str | None = None
    step: int | None = None
    """Steps that this rank has done."""
    bound_s: float | None = None
    """After how long it is ended; None where nobody does."""
