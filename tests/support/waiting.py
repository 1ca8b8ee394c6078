"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from launcher.executors import Executor, JobState
from launcher.runs.directory import RunDir

Value = TypeVar("Value")
POLL_S = 0.05
POLL_AT_MOST_S = 2.0


def wait_until(condition: Callable[[], Value], what: str, timeout_s: float = 300) -> Value:
    """What `condition` returns as soon as that is true; fails the test, naming `what` it waited for, if it never is.

    A condition that takes long, such as a command, is looked at less often: it must not take the processor from what
    is waited for.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        assert now < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(min(max(POLL_S, 3 * (now - began)), POLL_AT_MOST_S))


def ended(executor: Executor, run: RunDir) -> JobState:
    """The state of a run's job once it has ended."""
    wait_until(lambda: not executor.state(run).active, "the job to end")
    return executor.state(run)
