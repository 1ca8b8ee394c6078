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
from pathlib import Path
from typing import Literal

from launcher.errors import DamagedFile
from launcher.runs.records import read_json

Kind = Literal["training", "sync"]
TOUCH_S = 5.0
LOST_AFTER_S = 60.0
"""Without a sign of life for so long, a sender on another machine is taken for dead."""


class Sender:
    """One that wants to send."""

    def __init__(self, directory: Path, kind: Kind) -> None:
        self._path = directory / "sender"
        self._own = directory / f".sender.{socket.gethostname()}.{os.getpid()}"
        self._kind = kind
        self._released = threading.Event()

    def claim(self) -> str | None:
        """Be the sender from now on; who is it already, where that is another.

        A training takes over from one before it: of a run's attempts only one is alive.
        """
        if (holder := self.holder()) is not None:
            return holder
        self._own.write_text(json.dumps(self._tree()))
        self._own.replace(self._path)
        threading.Thread(target=self._touch, name="sender", daemon=True).start()
        return None

    def holder(self) -> str | None:
        """Another that sends now and may not be taken over from, in words."""
        try:
            tree = read_json(self._path)
        except DamagedFile:
            return None
        if tree is None or tree == self._tree() or (self._kind == tree.get("kind") == "training"):
            return None
        if not self._is_alive(tree.get("host"), tree.get("pid")):
            return None
        name = "the training" if tree.get("kind") == "training" else "launch sync"
        return f"{name} (process {tree.get('pid')} on {tree.get('host')})"

    def release(self) -> None:
        """Be it no longer."""
        self._released.set()
        with contextlib.suppress(OSError, DamagedFile):
            if read_json(self._path) == self._tree():
                self._path.unlink()

    def _tree(self) -> dict[str, object]:
        return {"kind": self._kind, "host": socket.gethostname(), "pid": os.getpid()}

    def _is_alive(self, host: object, pid: object) -> bool:
        if host == socket.gethostname() and type(pid) is int:
            return Path(f"/proc/{pid}").exists()
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
