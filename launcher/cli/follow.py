"""Follows a run by its events, and by its executor for a run that dies without a word."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher.cli.progress import Bar, show_event
from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED
from launcher.runs.events import Event, parse_event
from launcher.runs.records import MOST_LINE_BYTES, lines_of, open_regular
from launcher.runs.results import Result

POLL_S = 0.1
SCHEDULER_POLL_S = 2.0
SCHEDULER_WIDEST_S = 15.0
"""Between two questions to a scheduler, after a quarter of an hour."""


class Tail:
    """The complete lines that a growing file has gained since the last look; the file may not exist yet."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._torn = b""

    @classmethod
    def at_end(cls, path: Path) -> Tail:
        """Only what is written from now on."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def lines(self) -> Iterator[str]:
        """What is new, read as it is asked for; a line of more than MOST_LINE_BYTES comes in pieces."""
        try:
            file = open_regular(self.path)
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            for piece in lines_of(file):
                self._offset += len(piece)
                self._torn += piece
                if piece.endswith(b"\n") or len(self._torn) >= MOST_LINE_BYTES:
                    whole, self._torn = self._torn.removesuffix(b"\n"), b""
                    yield whole.decode("utf-8", "replace")

    def rest(self) -> str:
        """The last line where it has no end yet."""
        return self._torn.decode("utf-8", "replace")

    def events(self) -> Iterator[Event]:
        return (event for event in map(parse_event, self.lines()) if event is not None)


def follow(tail: Tail, is_over: Callable[[], bool], bar: Bar) -> None:
    """Show events until the executor says that nothing more will come."""
    while True:
        over = is_over()
        for event in tail.events():
            show_event(bar, event)
        if over:
            return
        time.sleep(POLL_S)


def every(interval_s: float, question: Callable[[], bool], widest_s: float = 0.0) -> Callable[[], bool]:
    """`question`, asked at most once in that many seconds, and more rarely the longer it goes on, up to `widest_s` apart.

    A scheduler serves many users: one who waits for days doesn't ask every other second.
    """
    began_at, asked_at, answer = time.monotonic(), float("-inf"), False

    def ask() -> bool:
        nonlocal asked_at, answer
        now = time.monotonic()
        if now - asked_at >= max(interval_s, min(widest_s, (now - began_at) / 60)):
            answer, asked_at = question(), time.monotonic()
        return answer

    return ask


def exit_code(result: Result) -> int:
    """The exit code that a run's result stands for."""
    return {"completed": EXIT_OK, "stopped": EXIT_STOPPED}.get(result.status, EXIT_FAILED)
