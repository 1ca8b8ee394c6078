"""strace as the hand of fate: a process that is ended, refused or kept waiting as it enters a system call."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from support.waiting import wait_until

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
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    child = _halted_child(work)
    code = _continued(child, [*words, "-p", str(child)])
    assert code in (0, -signal.SIGKILL), f"{call} {number}: {code}"
    return code != 0


@contextlib.contextmanager
def slowed(process: int, call: str, seconds: float) -> Iterator[None]:
    """Have every thread of a process wait so long before each system call of this name, as a slow disk does."""
    with _injected(process, call, f"delay_enter={round(seconds * 1e6)}"):
        yield


@contextlib.contextmanager
def refused(process: int, call: str, error: str) -> Iterator[None]:
    """Have each thread's next system call of this name fail with this error, such as EIO, as a disk does that errs once."""
    with _injected(process, call, f"error={error}:when=1"):
        yield


@contextlib.contextmanager
def _injected(process: int, call: str, what: str) -> Iterator[None]:
    inject = f"inject={call}:{what}"
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, "-p", str(process)]
    strace = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _tracer(process) != "0", "strace to attach")
        yield
    finally:
        strace.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            strace.wait(timeout=5)
        strace.kill()  # it may still wait out a delay of a process that is gone
        strace.wait(timeout=60)


def calls_of(work: Callable[[], object], calls: Iterable[str], record: Path) -> list[str]:
    """Do `work` in a child; its system calls of these names as strace writes them, paths of descriptors with them."""
    child = _halted_child(work)
    words = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-o",
        str(record),
        "-e",
        f"trace={','.join(calls)}",
        "-p",
        str(child),
    ]
    code = _continued(child, words)
    assert code == 0, code
    return record.read_text(encoding="utf-8").splitlines()


def _halted_child(work: Callable[[], object]) -> int:
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
    os.waitpid(child, os.WUNTRACED)
    return child


def _continued(child: int, strace_words: list[str]) -> int:
    """Let a halted child go on beneath strace; its exit code."""
    strace = subprocess.Popen(strace_words, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _tracer(child) != "0", "strace to attach")
        os.kill(child, signal.SIGCONT)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        strace.wait(timeout=60)


def _tracer(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("TracerPid")).split()[1]
