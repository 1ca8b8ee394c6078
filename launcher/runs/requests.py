"""Requests to a live run, files in control/: only a regular file is one, never a link, a pipe or a device."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import FULL, takes_no_writes
from launcher.runs.files import named, write_text


def is_asked(path: Path) -> bool:
    """Whether a request is there; no link is followed and nothing is opened."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def ask(path: Path) -> None:
    """Make a request, in the user's name; where a full disk takes no more words, an empty one says as much."""
    try:
        write_text(path, "user")
    except OSError as error:
        if error.errno not in FULL:
            raise
        with named(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def ask_to_end(run: RunDir) -> bool:
    """Ask for a run to be killed; whether that stands in its directory now, which may take no writes."""
    try:
        ask(run.cancel)
    except OSError as error:
        if not takes_no_writes(error):
            raise
        return False
    return True


def drop_others(run: RunDir) -> Iterator[str]:
    """Remove what stands in the place of a request and is none; a sentence on each."""
    for path in (run.stop, run.cancel):
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
            try:
                path.unlink()
                yield f"control/{path.name} was {kind}, which is no request: it is removed"
            except OSError as error:
                yield f"control/{path.name} is {kind}, which is no request, and can't be removed: {error.strerror}"
