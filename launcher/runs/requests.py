"""Requests to a live run, files in control/: only a regular file is one, never a link, a pipe or a device."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.runs.directory import RunDir


def is_asked(path: Path) -> bool:
    """Whether a request is there; no link is followed and nothing is opened."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


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
