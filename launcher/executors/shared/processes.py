"""Processes of this machine that belong to a job: found by what they inherited, killed with all that they started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil

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


def _below(ancestor: int) -> list[psutil.Process]:
    try:
        return psutil.Process(ancestor).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
