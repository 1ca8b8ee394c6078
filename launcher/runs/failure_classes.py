"""The classes of failures in result.json, and what follows a failure of each.

Standard library alone, since a node starts it on every launch. docs/failures.md says the same in words; a test compares them.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Answer = Literal["retry", "smaller", "elsewhere", "never"]
"""As it is; with micro-batches of half the size; without the node that failed; not before somebody has changed something."""

MEMORY = "memory"
HANG = "hang"
STORAGE = "storage"
UNKNOWN = "crashed"
ANSWERS: Mapping[str, Answer] = {
    MEMORY: "smaller",
    HANG: "retry",
    "network": "retry",
    STORAGE: "retry",
    "killed": "retry",
    UNKNOWN: "retry",
    "node": "elsewhere",
    "device": "elsewhere",
    "diverged": "never",
    "data": "never",
    "code": "never",
    "recipe": "never",
    "model": "never",
    "launch": "never",
    "checkpoint": "never",
    "disk": "never",
    "time-limit": "never",
}
"""What is done by itself after a failure of each class."""
HERE_TOO = frozenset({MEMORY, HANG, "network", STORAGE})
"""Failures after which a run goes on by itself also where no scheduler does: others are often somebody's doing."""
ONCE_IT_TRAINS = frozenset({"killed", UNKNOWN})
"""Failures that are tried again only after a step was trained: what dies at its start mostly dies there again."""
ECHOES = frozenset({UNKNOWN, "network"})
"""What ranks that live on say of one that was killed: they only see a lost connection."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What file systems say that take no more: full, over a quota or a limit on files, mounted to be read only."""
WANT_ROOM = FULL - {errno.EFBIG}
"""Those of them that space, or leave to write, helps."""
LOST = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.EREMOTEIO,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.ENXIO,
        errno.ENODEV,
        errno.ESHUTDOWN,
        errno.EHOSTDOWN,
    }
)
"""What file systems say that have lost their disk or their server."""


MAKE_ROOM = "free space on the run directory's disk, or make it writable"
"""What helps where its file system takes no writes."""
FREE_SPACE = f"{MAKE_ROOM}, then launch resume"


def storage_remedy(error: BaseException | None = None) -> str:
    """What helps where a file system has lost its disk or its server: that of the file that the error names, or the run's own."""
    named = getattr(error, "filename", None)
    whose = named if isinstance(named, str) and Path(named).is_absolute() else "the run directory"
    return f"if it comes again, have the file system of {whose} looked at"


def of_storage(error: BaseException) -> bool:
    """Whether a file system has lost its disk or its server, which may come back."""
    return isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno in LOST


def takes_no_writes(error: BaseException) -> bool:
    """Whether a file system has refused to be written to, for now or for good."""
    return of_storage(error) or (isinstance(error, OSError) and error.errno in FULL)


def kind_of_refusal(error: BaseException) -> str:
    """The class of a failure for want of a disk that takes writes."""
    return STORAGE if of_storage(error) else "disk"


def answer_to(kind: str) -> Answer:
    """What follows a failure of this class; one that nobody knows is taken for `crashed`."""
    return ANSWERS.get(kind, ANSWERS[UNKNOWN])
