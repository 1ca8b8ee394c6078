"""Whether a run that somebody follows from outside has ended, asked of its executor now and then."""

from __future__ import annotations

import signal
import threading

from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, LauncherError
from launcher.executors import executor_for
from launcher.runs.directory import RunDir

ASK_S = 3.0
CODES = {"completed": EXIT_OK, "stopped": EXIT_STOPPED}


class Ending:
    """When to stop following a run: at once, or once it has ended, or at Ctrl-C."""

    def __init__(self, run: RunDir, *, follow: bool) -> None:
        self.exit_code: int | None = None
        """The run's, once it has ended; None as long as it goes on."""
        self.ending = threading.Event()
        self._run = run
        if not follow or self._has_ended():
            self._end()
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.ending.set())
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def _watch(self) -> None:
        while not self._has_ended():
            if self.ending.wait(ASK_S):
                return
        try:
            self._end()
        except LauncherError:  # a result that can't be read: the record ends there all the same
            self.ending.set()

    def _end(self) -> None:
        result = self._run.read_result()
        if result is not None and self._has_ended():
            self.exit_code = CODES.get(result.status, EXIT_FAILED)
        self.ending.set()

    def _has_ended(self) -> bool:
        try:
            return not executor_for(self._run.read_plan().executor).state(self._run).active
        except LauncherError:
            return False  # its scheduler doesn't answer, say
