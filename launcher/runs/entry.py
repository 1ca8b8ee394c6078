"""What lies in a directory that an object stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Directory(Protocol):
    """An object that stands for the directory at `path`."""

    @property
    def path(self) -> Path: ...


class Entry:
    """A file or directory below one: an attribute that is its path."""

    def __init__(self, relative: str) -> None:
        self._relative = relative

    def __get__(self, directory: Directory, _kind: type) -> Path:
        return directory.path / self._relative
