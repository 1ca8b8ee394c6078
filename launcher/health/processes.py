"""Processes of this machine, told apart from later ones that got their number."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

HALTED = ("T", "t")
"""States, as /proc has them, of a process that was stopped by a signal or a debugger."""
GONE = ("X", "Z")


@dataclass(frozen=True)
class Process:
    """A process by its number and the time when it started, in clock ticks since the machine did."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, int(fields[19]))

    def state(self) -> str | None:
        """One letter, as /proc has it; None where it is gone."""
        fields = _stat(self.pid)
        if fields is None or int(fields[19]) != self.started or fields[0] in GONE:
            return None
        return fields[0]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.state() is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
