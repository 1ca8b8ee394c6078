"""Which of the files given are copies of each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from launcher import paths
from launcher.errors import UserError
from launcher.reading.files import content_hash
from launcher.reading.opening import open_as_it_is

START = 1 << 16
"""Bytes by which files of one size are told apart before any is read whole."""
LARGEST = 1 << 30
"""Larger files take longer to read than a plan may; of these, only paths to one file are known to be the same."""


def by_content(given: Iterable[Path]) -> dict[Path, Hashable]:
    """Each path with what it has in common with those that lead to the same file, or to a copy of it.

    Nothing is read of a file whose size no other has.
    """
    found: dict[Path, Hashable] = {path: paths.identity(path) or path for path in given}
    of_files = {identity: path for path, identity in found.items()}
    copies: dict[Hashable, Hashable] = {}
    for looked in (_size, _start, content_hash):
        copies = _alike(of_files, looked)
        of_files = {identity: path for identity, path in of_files.items() if identity in copies}
    return {path: copies.get(identity, identity) for path, identity in found.items()}


def _alike(of_files: dict[Hashable, Path], looked: Callable[[Path], Hashable]) -> dict[Hashable, Hashable]:
    """What `looked` finds of each file, of those of which it finds what it also finds of another."""
    found: dict[Hashable, Hashable] = {}
    for identity, path in of_files.items():
        try:
            found[identity] = looked(path)
        except (UserError, OSError):  # said where its rows are read
            continue
    times = Counter(found.values())
    return {identity: seen for identity, seen in found.items() if seen is not None and times[seen] > 1}


def _size(path: Path) -> int | None:
    with open_as_it_is(path) as file:
        size = file.seek(0, 2)
    return size if 0 < size <= LARGEST else None


def _start(path: Path) -> tuple[int | None, bytes]:
    with open_as_it_is(
        path
    ) as file:  # its hash, since so many bytes of thousands of files are too many to hold
        return _size(path), hashlib.sha256(file.read(START)).digest()
