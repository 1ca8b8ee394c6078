"""Locking a file against other processes, on file systems that have locks and on those that have none."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable

POLL_S = 0.1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer."""


def nothing() -> None:
    """What is done about a wait that nobody asks about."""


def lock(descriptor: int, give_up: Callable[[], bool], on_wait: Callable[[], None] = nothing) -> bool | None:
    """Wait for the lock on an open file.

    True where it is held now, until the file is closed; False where `give_up` said so before another process released it;
    None where the file system has no locks. `on_wait` is called once, when another process holds it.
    """
    waits = False
    while not give_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                on_wait()
                waits = True
            time.sleep(POLL_S)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return None
        else:
            return True
    return False
