"""Who sends a run's rows to W&B: its training or `launch sync`, never both, on whatever machines they are.

The file `wandb/sender` says who does; it is touched as long as that process lives. Two clients of one run would give the
server the same steps twice, and locks don't reach every file system.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.errors import DamagedFile
from launcher.health.processes import Process
from launcher.runs.records import read_record, tree_of

Kind = Literal["training", "sync"]
TOUCH_S = 5.0
LOST_AFTER_S = 60.0
"""Without a sign of life for so long, a sender on another machine is taken for dead."""


@dataclass(frozen=True)
class Holder:
    """The process that sends, as the file names it."""

    kind: Kind
    host: str
    pid: int
    started: int | None = None
    """When it did, so that a later process of its number isn't taken for it; None where nobody knows."""

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()


class Sender:
    """One that wants to send."""

    def __init__(self, directory: Path, kind: Kind) -> None:
        self._path = directory / "sender"
        self._own = directory / f".sender.{socket.gethostname()}.{os.getpid()}"
        me = Process.of(os.getpid())
        self._me = Holder(kind, socket.gethostname(), os.getpid(), None if me is None else me.started)
        self._released = threading.Event()

    def claim(self) -> str | None:
        """Be the sender from now on; who is it already, where that is another.

        A training takes over from one before it: of a run's attempts only one is alive.
        """
        if (holder := self.holder()) is not None:
            return holder
        self._own.write_text(json.dumps(tree_of(self._me)))
        self._own.replace(self._path)
        threading.Thread(target=self._touch, name="sender", daemon=True).start()
        return None

    def holder(self) -> str | None:
        """Another that sends now and may not be taken over from, in words."""
        holder = self._read()
        if holder is None or holder == self._me or self._me.kind == holder.kind == "training":
            return None
        if not self._is_alive(holder):
            return None
        name = "the training" if holder.kind == "training" else "launch sync"
        return f"{name} (process {holder.pid} on {holder.host})"

    def release(self) -> None:
        """Be it no longer."""
        self._released.set()
        with contextlib.suppress(OSError):
            if self._read() == self._me:
                self._path.unlink()

    def _read(self) -> Holder | None:
        """Who the file names; None where there is none or nobody can say."""
        try:
            return read_record(Holder, self._path)
        except DamagedFile:
            return None

    def _is_alive(self, holder: Holder) -> bool:
        if holder.is_here:
            now = Process.of(holder.pid)
            return now is not None and holder.started in (None, now.started)
        return self._age() < LOST_AFTER_S

    def _age(self) -> float:
        """Seconds since the file was touched, by the clock of the file system that it is on."""
        self._own.touch()
        try:
            return self._own.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return LOST_AFTER_S
        finally:
            self._own.unlink(missing_ok=True)

    def _touch(self) -> None:
        while not self._released.wait(TOUCH_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)
