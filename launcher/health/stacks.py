"""What the threads of a rank are doing, written into its log: Python's by itself, native ones by py-spy or gdb."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from launcher.health.processes import Process
from launcher.runs.files import open_to_append

SIGNAL = signal.SIGUSR2
"""Makes a rank write the Python stacks of all its threads, also while its main thread is in native code."""
PYTHON_S = 1.0
"""What writing them may take."""
NATIVE_S = 12.0
"""What a debugger may take; it is ended then."""


def write_stacks(ranks: Iterable[tuple[Process, Path]], header: str) -> None:
    """Append the stacks of these processes to their logs, within PYTHON_S + NATIVE_S seconds."""
    known = list(ranks)
    for process, log in known:
        _append(log, f"{header}\n")
        process.send(SIGNAL)
    time.sleep(PYTHON_S)
    debuggers = [debugger for process, log in known if (debugger := _debugger(process, log)) is not None]
    deadline = time.monotonic() + NATIVE_S
    for debugger in debuggers:
        try:
            debugger.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            debugger.kill()
            debugger.wait()


def _debugger(process: Process, log: Path) -> subprocess.Popen[bytes] | None:
    command = _command(process.pid)
    if command is None or process.state() is None:
        return None
    _append(log, f"native stacks, by {command[0]}:\n")
    with contextlib.suppress(OSError), _opened(log) as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return None


def _command(pid: int) -> Sequence[str] | None:
    """What shows native stacks here, if anything is installed that does."""
    if shutil.which("py-spy"):
        return ["py-spy", "dump", "--native", "--pid", str(pid)]
    if shutil.which("gdb"):
        told = ["set pagination off", "set debuginfod enabled off", "thread apply all backtrace 30"]
        return ["gdb", "--batch", "-nx", *(word for text in told for word in ("-ex", text)), f"--pid={pid}"]
    return None


def _append(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), _opened(log) as file:
        file.write(text.encode())


def _opened(log: Path) -> BinaryIO:
    return os.fdopen(open_to_append(log), "wb", buffering=0)
