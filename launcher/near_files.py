"""The file that was probably meant where a path leads nowhere: a wrong ending, a wrong name or a wrong directory."""

from __future__ import annotations

import re
from pathlib import Path

from launcher import paths
from launcher.errors import nearest

ENDINGS = re.compile(r"(?<=.)\.[a-z]\w*(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE)
"""What all data files have in common says nothing about which is meant."""
MOST_DIRECTORIES = 100
"""Directories that are looked into: a directory of runs holds thousands, on a file system that may be far away."""


def near_file(path: Path) -> Path | None:
    """A file with a name near this one where it should be, or one of this name nearby, whatever its ending; None for neither."""
    folder = _near_directory(path.parent)
    found = None if folder is None else _near_in(folder, path.name)
    return found or _elsewhere(path)


def files_in(folder: Path) -> list[str]:
    """Names of the files of a directory; none where it can't be read."""
    return sorted(entry.name for entry in _entries(folder) if paths.is_file(entry))


def _near_in(folder: Path, name: str) -> Path | None:
    """Names are compared without their endings, and those that differ in nothing else by their endings."""
    stem = nearest(_stem(name), list(dict.fromkeys(map(_stem, files_in(folder)))))
    return None if stem is None else _of_stem(folder, name, stem)


def _near_directory(folder: Path) -> Path | None:
    """The directory itself, or one whose name is near in each part that isn't there."""
    if paths.is_dir(folder):
        return folder
    above = None if folder.parent == folder else _near_directory(folder.parent)
    if above is None or paths.is_dir(above / folder.name):
        return above and above / folder.name
    guess = nearest(folder.name, [entry.name for entry in _directories(above)])
    return None if guess is None else above / guess


def _elsewhere(path: Path) -> Path | None:
    """A file of the same name, but perhaps another ending, here or one directory up or down."""
    there = next(place for place in path.parents if paths.is_dir(place))
    for directory in (there, there.parent, *_directories(there)[:MOST_DIRECTORIES]):
        if found := _of_stem(directory, path.name, _stem(path.name)):
            return found
    return None


def _of_stem(folder: Path, name: str, stem: str) -> Path | None:
    """The file with this name before its ending whose whole name is the nearest."""
    found = [one for one in files_in(folder) if _stem(one) == stem]
    return folder / (nearest(name, found) or found[0]) if found else None


def _stem(name: str) -> str:
    return ENDINGS.sub("", name).lower()


def _directories(folder: Path) -> list[Path]:
    return sorted(entry for entry in _entries(folder) if paths.is_dir(entry))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
