"""A run has one writer: rank 0 of an attempt holds a lock in the run directory for as long as it lives."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir
from launcher.train.process.file_locks import lock
from launcher.train.process.ranks import Ranks

PATIENCE_S = 10.0
"""Longest that another writer, which may be dying, is waited for."""


def become_writer(run: RunDir, ranks: Ranks) -> None:
    """Let rank 0 be the run's only writer until its process ends, as far as the file system has locks.

    Raises RunFailed of class `launch` on every rank where another process is.
    """
    holder = ranks.broadcast(_lock(run.writer) if ranks.is_main else None)
    if holder is not None:
        raise RunFailed(
            "launch",
            f"an earlier attempt still trains: {holder} has locked {run.writer}",
            f"end that process, then launch resume; where its node is gone and the lock stays, remove {run.writer}",
        )


def _lock(path: Path) -> str | None:
    """Hold the lock for good, or tell who has it."""
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not _acquire(descriptor):
        return path.read_text(encoding="utf-8").strip() or "another process"
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return None


def _acquire(descriptor: int) -> bool:
    """False where another process has the lock and keeps it."""
    deadline = time.monotonic() + PATIENCE_S
    return lock(descriptor, give_up=lambda: time.monotonic() > deadline) is not False
