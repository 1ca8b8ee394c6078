"""What the training tells the person who watches: JSON lines that the CLI renders."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from launcher.train.process.heartbeat import Heartbeat


class Events:
    """Writes events to a stream, or nowhere on ranks other than 0."""

    def __init__(
        self, stream: TextIO | None, attempt: int | None = None, heartbeat: Heartbeat | None = None
    ) -> None:
        self.heartbeat = heartbeat or Heartbeat()
        """Told of every phase, on every rank."""
        self._stream = stream
        self._common = {} if attempt is None else {"attempt": attempt}

    @classmethod
    def to_file(cls, path: Path | None, attempt: int, heartbeat: Heartbeat | None = None) -> Events:
        """Events in a file, or nowhere where there is none."""
        if path is None:
            return cls(None, attempt, heartbeat)
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(
            path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1), attempt, heartbeat
        )

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event with the time and this process's CPU seconds; numbers that JSON can't hold become null, dates text.

        A full disk or a closed pipe is ignored.
        """
        if self._stream is None:
            return
        now = {"t": round(time.time(), 3), "cpu_s": round(time.process_time(), 3)}
        record = {**now, **self._common, "event": event, **finite(fields)}
        try:
            self._stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def phase(self, name: str, done: int | None = None, total: int | None = None) -> None:
        self.heartbeat.phase(name)
        self.emit("phase", name=name, done=done, total=total)

    def progress(self, name: str, done: int | None = None, total: int | None = None) -> None:
        """How far a verb is with what it does."""
        self.emit("progress", name=name, done=done, total=total)

    def progress_of(self, name: str) -> Callable[[int, int], None]:
        """What is told how much is done of all, as the progress of what is called so."""
        return partial(self.progress, name)

    def notice(self, text: str, level: str = "info") -> None:
        self.emit("notice", level=level, text=text)


def finite(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON can't hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
