"""Files that are on the disk, and not only in memory, before something is said of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_in(directory: Path) -> Iterator[Path]:
    """All files below a directory, in order."""
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def sync(path: Path) -> None:
    """Wait until what a file holds, or the names in a directory, are on the disk. Raises OSError where they can't be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """`sync` of all files and directories below this one, and of itself."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(directory)
