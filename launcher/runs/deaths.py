"""How a process of a training died, as far as anybody saw it: by which signal, with how much memory, and what may help.

Standard library alone, since a node starts it on every launch.
"""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass

from launcher.errors import EXIT_OK
from launcher.figures import human_bytes
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Gone
from launcher.runs.crash_reports import MEANINGS, Crash
from launcher.runs.directory import RunDir

FOR_MEMORY = re.compile(r"oom[-_]kill|out[ -]of[ -]memory|Cannot allocate memory", re.IGNORECASE)
WATCHER_S = 1.0
"""How long a node's watcher may take to write down that a rank is gone."""
COMPUTING = ("first step", "step", "evaluation")
"""Phases whose memory depends on the size of micro-batches."""


@dataclass(frozen=True)
class Death:
    """The process that failed first, as far as anybody saw it."""

    code: int
    """As Python gives it: negative for a signal."""
    rank: int | None = None
    host: str | None = None
    process: str = "training"
    """What it was, where that was no rank or nobody knows which."""

    @property
    def signal(self) -> str | None:
        """Name of the signal that killed it."""
        number = -self.code if self.code < 0 else self.code - 128
        try:
            return signal.Signals(number).name
        except ValueError:
            return None

    @property
    def is_native(self) -> bool:
        """Whether native code crashed, rather than somebody killing it."""
        return self.signal in MEANINGS

    @property
    def kind(self) -> str:
        """The class of the error."""
        return "killed" if self.signal and not self.is_native else "crashed"

    @property
    def how(self) -> str:
        """In words."""
        if self.signal is None:
            return f"ended with code {self.code}{' before its end' if self.code == EXIT_OK else ''}"
        return f"was killed by {self.signal}{f': {MEANINGS[self.signal]}' if self.is_native else ''}"


def first_gone(attempt: AttemptDir, death: Death) -> Gone | None:
    """What the watcher of its node saw of a rank that was killed; it may need a moment to write that down."""
    if death.signal != "SIGKILL" or death.rank is None:
        return None
    deadline = time.monotonic() + WATCHER_S
    while attempt.health.is_dir() and not attempt.gone.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    gone = attempt.read_gone()
    return gone if gone is not None and gone.rank == death.rank else None


def held_too_much(run: RunDir, gone: Gone) -> bool:
    """Whether a rank was killed for memory that smaller micro-batches would not have needed."""
    return bool(gone.for_memory) and run.read_plan().device == "cpu" and gone.phase in COMPUTING


def of_memory(gone: Gone | None) -> str:
    """What a rank that was killed had to do with the memory of its node."""
    if gone is None or gone.held is None or gone.allowed is None:
        return ""
    cause = {
        True: "the kernel ended it for want of memory",
        False: "not for want of memory, as far as the kernel counts",
        None: "from outside",
    }[gone.for_memory]
    held, allowed = human_bytes(gone.held), human_bytes(gone.allowed)
    return f": {cause}; it held {held}, and its node or job may use {allowed}"


def remedy(run: RunDir, death: Death, log: str, gone: Gone | None, crash: Crash | None) -> str:
    resume = f"launch resume {run.run_id} continues from the newest checkpoint"
    if death.is_native:
        return _remedy_for_crash(run, death, crash)
    if gone is not None and gone.for_memory is False and not FOR_MEMORY.search(log):
        return f"somebody, a limit or the scheduler killed it; {resume}"
    if FOR_MEMORY.search(log) or death.signal == "SIGKILL":
        often = "" if gone is not None and gone.for_memory else "often the node ran out of memory: "
        return f"{often}{_less_memory(run)}; {resume}"
    return f"read {run.logs}; then {resume}"


def _less_memory(run: RunDir) -> str:
    plan = run.read_plan()
    if plan.device != "cpu":
        return "ask for more main memory (`memory` in the cluster profile)"
    predicted = plan.memory.total
    planned = f" (the plan predicts {human_bytes(predicted)} for each rank)" if predicted else ""
    return f"lower batch.micro or batch.tokens, or ask for more memory{planned}"


def _remedy_for_crash(run: RunDir, death: Death, crash: Crash | None) -> str:
    """What may help where native code crashed: it is a library's fault, the node's, or of what was given to it."""
    from launcher.runs.provenance import read_environment

    library = None if crash is None else crash.library
    environment = read_environment(run)
    version = None if library is None or environment is None else environment.packages.get(library)
    other = (
        f"another version of {library}{f' than {version}' if version else ''}"
        if library
        else "other versions"
    )
    tries = [f"LAUNCH_COMPAT=off launch resume {run.run_id}", other]
    if run.read_plan().request is not None:
        tries.append("another node (sbatch: {exclude: NODE} in the profile)")
    first = {
        "SIGBUS": "see whether /dev/shm or the disk of data.cache_dir is full (df); else ",
        "SIGILL": "a library was built for another processor; ",
    }.get(death.signal or "", "")
    return f"{first}try {', then '.join(tries)}; all stacks are at the end of {_log_name(run, death)}"


def _log_name(run: RunDir, death: Death) -> str:
    return str((run.logs if death.rank is None else run.rank_log(death.rank)).relative_to(run.path))
