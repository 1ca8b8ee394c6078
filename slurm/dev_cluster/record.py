"""What a cluster's directory tells other processes: whether it is up, who owns it, how to use it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dev_cluster.machine import Mistake

LOCK = "cluster.lock"
"""Held by the owner for as long as it lives; holds its process id. Also marks a directory as ours to clear."""
RECORD = "cluster.json"
"""There while the cluster is up."""


@dataclass(frozen=True)
class Record:
    """A running cluster."""

    nodes: int
    gpus: int
    """Fake GPUs on each node."""
    netns: bool
    sockets: str
    """Directory of the Unix sockets: the cluster's own unless its path is too long."""
    enter: list[str]
    """Words before a command that must run where the Slurm tools work; none in the flat cluster."""

    @property
    def shape(self) -> str:
        """The cluster in words, such as `4 nodes, 8 GPUs each`."""
        nodes = f"{self.nodes} node{'s' * (self.nodes > 1)}"
        return f"{nodes}, {self.gpus or 'no'} GPUs each{', own namespaces' * self.netns}"

    def write(self, directory: Path) -> None:
        """Say that the cluster in `directory` is up."""
        draft = directory / f"{RECORD}.new"
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(directory / RECORD)


def read_record(directory: Path) -> Record | None:
    """What the cluster in `directory` says of itself; None before it is up and after it has stopped."""
    try:
        return Record(**json.loads((directory / RECORD).read_text()))
    except FileNotFoundError:
        return None


def owner(directory: Path) -> int | None:
    """The process that owns the cluster in `directory`, from before it is up until all is gone; None for no cluster."""
    try:
        with (directory / LOCK).open() as lock:
            if _locks(lock.fileno(), fcntl.LOCK_SH):
                return None
            return int(lock.read() or 0) or owner(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise Mistake(f"{directory} belongs to another user", "name another directory with --dir") from None


@contextlib.contextmanager
def ownership(directory: Path) -> Iterator[None]:
    """Make `directory` (mode 0700) and own the cluster in it; a `Mistake` if it is in use or holds other files."""
    try:
        if directory.is_dir() and any(directory.iterdir()) and not (directory / LOCK).exists():
            raise Mistake(f"{directory} holds other files", "name a new or empty directory with --dir")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        lock = (directory / LOCK).open("a+")
    except OSError as error:
        raise Mistake(
            f"cannot use {directory}: {error.strerror}", "name another directory with --dir"
        ) from None
    with lock:
        attempts = 10  # `owner` in another process locks for an instant
        while not _locks(lock.fileno(), fcntl.LOCK_EX):
            if (attempts := attempts - 1) == 0:
                raise Mistake(
                    f"a cluster is already running in {directory}", "stop it, or name another --dir"
                )
            time.sleep(0.01)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _locks(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def exports(directory: Path) -> dict[str, str]:
    """The variables that point the Slurm tools and the launcher at the cluster in `directory`."""
    return {"SLURM_CONF": str(directory / "slurm.conf"), "LAUNCH_CLUSTER": "local"}


def environment(directory: Path) -> dict[str, str]:
    """This process's environment turned towards the cluster in `directory`, without traces of any other Slurm."""
    others = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    return kept | exports(directory)
