"""Noticing that the run is asked to stop: a signal to this process, or the stop file.

Handlers only set a flag. The loop agrees on it with all ranks at step boundaries; long work between steps (reading data,
evaluation) polls it.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

from launcher.runs.directory import RunDir
from launcher.runs.requests import is_asked

POLL_S = 0.5
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def never() -> bool:
    """The stop request of work that nobody stops."""
    return False


class StopFlag:
    """True once this rank has been asked to stop."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._asked = False
        self._polled_at = 0.0

    def install(self) -> None:
        """Take over the signals that schedulers and torchrun send."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def set(self) -> None:
        self._asked = True

    def __call__(self) -> bool:
        if not self._asked and time.monotonic() - self._polled_at > POLL_S:
            self._polled_at = time.monotonic()
            self._asked = is_asked(self._run.stop)
        return self._asked

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
