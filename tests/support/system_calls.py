"""strace as the hand of fate: a process that is ended, refused or kept waiting as it enters a system call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.slurm_cluster import wait_until

MOVES = ("rename", "renameat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir")
"""System calls that change names; a processor has some of them."""
CHANGES = ("openat", "write", "fsync", *MOVES)
"""And those that make files and fill them."""


def require_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")


def killed_at(work: Callable[[], object], call: str, number: int) -> bool:
    """Do `work` in a child that is killed as one of its threads enters its `number`th system call of this name.

    False where it came to its end before.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)  # the threads that others would wait for have not come along
            signal.alarm(60)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, os.WUNTRACED)  # it has halted
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, "-p", str(child)]
    strace = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _tracer(child) != "0", "strace to attach")
        os.kill(child, signal.SIGCONT)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        strace.wait(timeout=60)
    assert code in (0, -signal.SIGKILL), f"{call} {number}: {code}"
    return code != 0


def _tracer(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("TracerPid")).split()[1]
