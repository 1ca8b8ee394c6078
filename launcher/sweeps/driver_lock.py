"""One command at a time works a sweep off: its limit of trials side by side holds for the sweep."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from launcher.errors import UserError

FILE = "driver"
POLL_S = 0.2


@contextmanager
def only_driver(directory: Path) -> Iterator[None]:
    """Be the one command that goes on with a sweep. Raises UserError where another one is."""
    with _opened(directory) as file:
        if not _taken(file):
            remedy = f"launch status {directory.name} shows it; launch stop {directory.name} ends it"
            raise UserError("another command goes on with it", directory.name, remedy=remedy)
        yield


@contextmanager
def in_turn(directory: Path, may_wait: Callable[[], bool]) -> Iterator[None]:
    """The same, but wait for another one to end as long as `may_wait` says so, which is asked again and again."""
    with _opened(directory) as file:
        while not _taken(file) and may_wait():
            time.sleep(POLL_S)
        yield


def _opened(directory: Path) -> TextIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(directory / FILE, flags, 0o600), "w")


def _taken(file: TextIO) -> bool:
    """Whether the file is ours now. A file system without locks is no reason to train nothing."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
