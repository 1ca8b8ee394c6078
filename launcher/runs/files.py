"""How files of a run directory are written: whole or not at all, and one at a time under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher import paths
from launcher.errors import DamagedFile
from launcher.runs.failure_classes import MAKE_ROOM, WANT_ROOM

WORD_BYTES = 1 << 16
"""Most that a file in control/ holds."""


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut; it has what the umask leaves of `mode`.

    An OSError names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with named(path):
        descriptor = os.open(temporary, flags, mode)
        try:
            # Bytes of a file's name that aren't UTF-8 are escaped as Python and JSON do.
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def part_of(path: Path) -> Path:
    """Where a file is while it is written in parts, and stays with those that are whole where it comes to no end."""
    return path.with_name(f"{path.name}.part")


def open_to_append(path: Path) -> int:
    """A descriptor of a file that is written at its end, made where there is none; links are not followed. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an OSError name this file: one of writing names none, and one of a temporary file names that."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", mode)


def say(text: str) -> None:
    """Add a line to the log of the job, which lies in the run directory: where its disk takes no more, the line is lost."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")


def let_group_read(path: Path) -> None:
    """Give the group of a file, or of a directory with all that is in it, the right to read; links aren't followed."""
    beneath = path.rglob("*") if path.is_dir() else ()
    for each in (path, *beneath):
        if not each.is_symlink():
            let_group_list(each) if each.is_dir() else each.chmod(stat.S_IMODE(each.stat().st_mode) | 0o040)


def let_group_list(directory: Path) -> None:
    """Give the group of a directory the right to list and to enter it."""
    directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o050)


@contextlib.contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Fill a directory that is new or empty: where that doesn't come to its end, it is as it was before."""
    made = [path for path in (directory, *directory.parents) if not paths.exists(path)]
    is_ours = directory in made or (paths.is_dir(directory) and not any(directory.iterdir()))
    try:
        yield
    except BaseException:
        if is_ours and directory.is_dir():
            _empty(directory)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _empty(directory: Path) -> None:
    import shutil

    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where it isn't there.

    A file system without locks is no reason to start nothing. Raises DamagedFile where there can be no such file.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        remedy = MAKE_ROOM if error.errno in WANT_ROOM else None
        raise DamagedFile(f"can't be locked: {error.strerror}", str(path), remedy=remedy) from None
    with os.fdopen(descriptor, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
