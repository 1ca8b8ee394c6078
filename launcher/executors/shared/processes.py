"""Processes of this machine that belong to a job: found by what they inherited, killed with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence

import psutil

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir


def left_by(run: RunDir, job: str) -> Iterator[int]:
    """Processes of this machine that the job's script started: they have its environment and directory."""
    for process in psutil.process_iter(["environ", "cwd"]):
        environment = process.info["environ"] or {}
        if environment.get("LAUNCHER_JOB") == job and process.info["cwd"] == str(run.path):
            yield process.pid


def kill_below(ancestor: int) -> None:
    """Kill every process under `ancestor`; torchrun gives its workers sessions of their own, so no group has them all.

    Each is halted before its children are looked for, or it could start one more behind our back.
    """
    halted: set[psutil.Process] = set()
    while fresh := set(_below(ancestor)) - halted:
        for process in fresh:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        halted |= fresh
    for process in halted:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_all(pids: Iterable[int]) -> None:
    """Kill these processes, if they are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def undying(run: RunDir, pids: Sequence[int]) -> RunFailed:
    """What to say of processes that were killed and are still there: their kernel waits, mostly for a file system."""
    shown = ", ".join(f"{pid} ({_status(pid)})" for pid in pids)
    remedy = (
        f"see what it waits for (a file system that doesn't answer?); launch cancel {run.run_id} asks again"
    )
    return RunFailed("timeout", f"{run.run_id}: killed, but not gone yet: process {shown}", remedy)


def _status(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "gone"


def _below(ancestor: int) -> list[psutil.Process]:
    try:
        return psutil.Process(ancestor).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
