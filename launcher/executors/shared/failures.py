"""Why an attempt died without saying so itself: which rank, where, at what step, and its last words."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, replace

from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, EXIT_UNRECORDED
from launcher.figures import quantity
from launcher.runs import address_limit, attempt_plan, crash_reports
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Attempt, FailedRank, Gone, Hang
from launcher.runs.crash_reports import crash_in
from launcher.runs.deaths import Death, first_gone, held_too_much, of_memory, remedy
from launcher.runs.directory import RunDir
from launcher.runs.events import last_step
from launcher.runs.failure_classes import (
    HANG,
    MAKE_ROOM,
    MEMORY,
    STORAGE,
    kind_of_refusal,
    storage_remedy,
    takes_no_writes,
)
from launcher.runs.files import write_text
from launcher.runs.jobs import Job
from launcher.runs.records import read_tail
from launcher.runs.requests import is_asked
from launcher.runs.results import Error
from launcher.runs.retries import saved_step

TAIL_BYTES = 1 << 16
TAIL_LINES = 12
SCRIPT_LINES = 2
FULL_BELOW = 1 << 20
"""A disk with fewer bytes free is taken for full."""
SHUTDOWN_S = 300
"""Ranks that torchrun still finds so long after the first has failed are killed; its job's script says so long."""
PORT_TAKEN = "EADDRINUSE"
"""What torchrun says where another process listens on the port that was free when it was chosen."""

_SRUN = re.compile(r"^srun: error: (?P<host>\S+): task (?P<task>\d+): (?P<how>.+)$", re.MULTILINE)
"""What srun prints about a node that failed."""
_SRUN_ENDS = re.compile(r"srun: (error: \S+: tasks? |launch/slurm: |Force Terminated|Job step aborted)")
"""How its lines about tasks that end begin."""
_NO_STEP = re.compile(r"^srun: error: Unable to create step for job \S+: (?P<why>.+)$", re.MULTILINE)
_FOR_NOW = re.compile(r"busy|down|temporar|contact|timed out|connect|respond|zero bytes", re.IGNORECASE)
"""What srun says of a step that Slurm may well start once the job has its nodes anew; its other reasons stay."""
_LABEL = re.compile(r"^ *\d+: ", re.MULTILINE)


@dataclass(frozen=True)
class _Ending:
    """What was seen of an attempt whose ranks left no word of what happened."""

    death: Death
    log: str
    """The end of its job's log."""
    refusal: Refusal | None
    """What the run directory says to who would write there, where nobody was killed."""


def examine(run: RunDir, attempt: AttemptDir, record: Attempt, code: int) -> Error:
    """The `error` of result.json for an attempt that ended with `code` and without a word of its own."""
    seen = _ending(run, attempt, record, code)
    return _hung(run, seen) if isinstance(seen, Hang) else _error(run, attempt, record, seen)


def behind_echoes(run: RunDir, attempt: AttemptDir, record: Attempt, code: int) -> Error | None:
    """The `error` of an attempt whose ranks could only record that another was gone: that other's, where it died silently."""
    seen = _ending(run, attempt, record, code)
    if isinstance(seen, Hang):
        return _hung(run, seen)
    death = seen.death
    is_silent = death.signal is not None or death.code == EXIT_OK or _is_cause(death.code)
    return _error(run, attempt, record, seen) if is_silent or seen.refusal is not None else None


def _ending(run: RunDir, attempt: AttemptDir, record: Attempt, code: int) -> Hang | _Ending:
    hang = attempt.read_hang()
    if hang is not None:
        return hang
    log = _log_of(run, record)
    death = _first_death(attempt, log, record, code, ranks=attempt_plan.plan_of(run, attempt).world_size)
    return _Ending(death, log, refusal_of(run) if death.signal is None else None)


def _error(run: RunDir, attempt: AttemptDir, record: Attempt, seen: _Ending) -> Error:
    death, log = seen.death, seen.log
    words = _words_of_ranks(log) if death.rank is None else _last_words(run, record, death.rank)
    step = last_step(run.events, attempt.number)
    who = death.process if death.rank is None else f"rank {death.rank}"
    # It could not say so, and others only saw that it was gone.
    if death.code == EXIT_UNRECORDED or seen.refusal is not None:
        error = unrecorded(run, f"{who} {death.how}", seen.refusal)
        return replace(error, rank=death.rank, host=death.host)
    if death.rank is None and death.signal is None and PORT_TAKEN in log:
        text = "the port on which ranks meet was taken by another job at the same moment"
        return Error(
            "network", text, f"launch resume {run.run_id} takes another port", None, death.host, step
        )
    if death.rank is None and death.signal is None and (waited := without_step(run, record, log)):
        return waited
    if (narrow := _without_addresses(run, who, words)) is not None:
        return replace(narrow, rank=death.rank, host=death.host)
    gone = first_gone(attempt, death)
    crash = crash_in(words, run.path) if death.is_native else None
    said = _last_lines(words) if crash is None else crash.lines()
    return Error(
        MEMORY if gone is not None and held_too_much(run, gone) else death.kind,
        rank=death.rank,
        host=death.host,
        step=step,
        message="\n".join([f"{who} {death.how}{of_memory(gone)}", *said]),
        remedy=remedy(run, death, log, gone, crash),
    )


def _without_addresses(run: RunDir, who: str, words: str) -> Error | None:
    """The `error` of a process for which a limit on its addresses was too small."""
    reason = address_limit.too_small(words)
    if reason is None:
        return None
    return Error("launch", f"{who} {reason}", f"{address_limit.REMEDY}; then launch resume {run.run_id}")


def _hung(run: RunDir, hang: Hang) -> Error:
    """The `error` of an attempt that a watcher has ended."""
    whose = "of all ranks" if hang.rank is None else f"of rank {hang.rank}"
    return Error(
        HANG,
        rank=hang.rank,
        host=hang.host,
        step=hang.step,
        message=f"{hang.sentence}; what every thread was doing is at the end of the logs of ranks",
        remedy=f"look at the stacks {whose} in {run.logs}; launch resume {run.run_id} continues from the newest checkpoint",
    )


def without_step(run: RunDir, record: Attempt, log: str | None = None) -> Error | None:
    """The `error` of an attempt for which the scheduler started nothing on its nodes; None where it says no such thing.

    No node is named: what keeps the step from them is the scheduler's count, which starts anew with the job.
    """
    refused = _NO_STEP.search(_log_of(run, record) if log is None else log)
    if refused is None or not _FOR_NOW.search(refused["why"]):
        return None
    hosts = ",".join(record.hosts)
    text = f"Slurm gave the job its nodes ({hosts}), and then started nothing on them: {refused['why']}"
    remedy = f"launch resume {run.run_id} asks for nodes anew; if it comes again: scontrol show node {hosts}"
    return Error("node", text, remedy)


def by_itself(code: int | None) -> bool:
    """Whether a script that ended with `code` did so by itself, in error, and not by a signal or a request to stop."""
    return code is not None and 0 < code < 128 and code != EXIT_STOPPED


def without_result(run: RunDir, job: str | None, state: str, code: int | None) -> Error:
    """The `error` of a run whose job has ended in this state, with this code if known, and left no result."""
    refusal = refusal_of(run)
    if code == EXIT_UNRECORDED or refusal is not None:
        return unrecorded(run, state, refusal)
    attempt = run.last_attempt()
    record = attempt.read() if attempt is not None else None
    begun = record is not None and record.job_id == job and record.status is None
    words = _words_of_script(run, job, record)
    if not by_itself(code) and (code is not None or begun or not words):
        if code is not None and _is_local(job):
            state = f"the job's script {Death(code).how}"
        return Error("killed", state)
    how = "did not get to the training" if code is None else f"ended with code {code}"
    when = "" if begun or code is None else " before the training began"
    return Error(
        "crashed" if begun else "launch",
        "\n".join([f"the script of job {job} {how}{when}", *words]),
        f"read {run.logs}; a setup line of the cluster profile is mended by a new run, the nodes by resuming",
    )


def unrecorded(run: RunDir, what: str, refusal: Refusal | None) -> Error:
    """The `error` of a run whose directory took no writes, so that what happened could not be said there.

    `refusal` is what it says now, None where it takes writes again.
    """
    last = run.last_attempt()
    step = None if last is None else last_step(run.events, last.number)
    if refusal is None:
        refusal = Refusal(STORAGE, "took no writes at that moment")
    help_ = storage_remedy() if refusal.kind == STORAGE else MAKE_ROOM
    message = f"{what}; the disk of {run.path} {refusal.words}; {_lost(run, step)}"
    return Error(refusal.kind, message, f"{help_}, then launch resume {run.run_id}", step=step)


def _lost(run: RunDir, step: int | None) -> str:
    """What a run loses that could not save its state at its last step, although it may have been asked to."""
    saved = saved_step(run)
    start = f"the checkpoint of step {saved}" if saved else "the beginning"
    lost = (step or 0) - saved
    steps = f"{quantity(lost, 'step')} trained since {start} {'is' if lost == 1 else 'are'} lost"
    asked = "it was asked to save and stop, and could not save; " if is_asked(run.stop) else ""
    return asked + (steps if lost > 0 else f"it goes on from {start}")


@dataclass(frozen=True)
class Refusal:
    """Why nothing can be written."""

    kind: str
    """The class of the error."""
    words: str
    """What the disk is or does."""


def refusal_of(run: RunDir) -> Refusal | None:
    """Whether a run directory takes no writes, by what its file system says of itself, and to a file that is tried."""
    disk = os.statvfs(run.path)
    if disk.f_flag & os.ST_RDONLY:
        return Refusal("disk", "is read-only")
    if disk.f_bavail * disk.f_frsize < FULL_BELOW:
        return Refusal("disk", "is full")
    trial = run.control / "trial"
    try:
        write_text(trial, "trial\n")  # an empty file takes no block of the disk
        trial.unlink()
    except OSError as error:
        if takes_no_writes(error):
            return Refusal(kind_of_refusal(error), f"takes no writes: {error.strerror}")
    return None


def _is_local(job: str | None) -> bool:
    found = Job.parse(job or "")
    return found is not None and found.is_local


def _words_of_script(run: RunDir, job: str | None, record: Attempt | None) -> list[str]:
    """The last lines of a job's log, but none of an attempt that had ended before."""
    if job is None:
        return []
    log = run.job_log(job)
    is_same = record is not None and record.job_id is not None and run.job_log(record.job_id) == log
    offset = (record.log_end or record.log_offset) if is_same and record is not None else 0
    return _last_lines(read_tail(log, TAIL_BYTES, offset), SCRIPT_LINES)


def _first_death(attempt: AttemptDir, log: str, record: Attempt, code: int, ranks: int) -> Death:
    hosts = record.hosts
    failed = [(node, rank) for node, found in attempt.failed_nodes().items() for rank in found.ranks]
    gone = attempt.read_gone()
    if gone is not None and _left_as_if_done(gone, failed):
        return Death(EXIT_OK, gone.rank, hosts[gone.node] if gone.node < len(hosts) else None)
    if failed:
        node, rank = _first_cause(failed)
        return Death(rank.exit_code, rank.rank, hosts[node] if node < len(hosts) else None)
    if record.executor == "local":
        host = hosts[0] if hosts else None
        # The script waits for the only rank, or for torchrun, which records every rank that it saw fail.
        return Death(code, 0, host) if ranks == 1 else Death(code, None, host, "torchrun")
    srun = _SRUN.search(log)
    return Death(code, None, srun["host"] if srun else None)


def _left_as_if_done(gone: Gone, failed: list[tuple[int, FailedRank]]) -> bool:
    """Whether the first rank to be gone ended with code 0: torchrun saw others of its node fail, and not that one."""
    return gone.node in {node for node, _ in failed} and gone.rank not in {rank.rank for _, rank in failed}


def _first_cause(failed: list[tuple[int, FailedRank]]) -> tuple[int, FailedRank]:
    """The rank, with its node, that failed first and not because of another.

    A killed rank takes the others with it: they exit, or torchrun ends them, in the end by a kill.
    """
    first = min(rank.seen_at for _, rank in failed)
    causes = [
        (node, rank)
        for node, rank in failed
        if _is_cause(rank.exit_code)
        and rank.seen_at < first + SHUTDOWN_S - 1
        and not (
            rank.exit_code == -signal.SIGABRT and rank.seen_at > first
        )  # NCCL aborts those that lost another
    ]
    return min(causes or failed, key=lambda found: found[1].seen_at)


def _is_cause(code: int) -> bool:
    """Whether a rank that ended so did not end because of another."""
    return code != -signal.SIGTERM if code < 0 else code not in (EXIT_OK, EXIT_FAILED)


def _log_of(run: RunDir, record: Attempt) -> str:
    """The end of what an attempt has added to its job's log."""
    return read_tail(run.job_log(record.job_id or "none"), TAIL_BYTES, record.log_offset)


def _last_lines(text: str, most: int = TAIL_LINES) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][-most:]


def _words_of_ranks(log: str) -> str:
    """A job's log without srun's labels, and without its words on how tasks ended where others have said something."""
    lines = _LABEL.sub("", log).splitlines()
    own = [line for line in lines if line.strip() and not _SRUN_ENDS.match(line)]
    return "\n".join(own or lines)


def _last_words(run: RunDir, record: Attempt, rank: int) -> str:
    """The end of the rank's log, if it wrote anything in this attempt."""
    path = run.rank_log(rank)
    try:
        written = path.stat().st_mtime >= (record.started_at or 0.0)
    except FileNotFoundError:
        return ""
    return read_tail(path, crash_reports.MOST_BYTES) if written else ""
