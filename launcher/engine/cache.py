"""Findings and speeds in the user's cache, which may be lost, damaged or somebody else's at any time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from launcher.engine.findings import Finding, digest
from launcher.errors import DamagedFile
from launcher.paths import user_cache
from launcher.runs.files import write_json
from launcher.runs.records import make, read_json, tree_of
from launcher.runs.trust import WRITABLE_BY_OTHERS

R = TypeVar("R")
MOST_FILES = 500
"""Records of a kind that are read: a plan waits for them."""


def directory() -> Path | None:
    """Where they are kept; None where there is no place, or one that others may write to."""
    try:
        found = user_cache() / "engine"
        found.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found.mkdir(mode=0o700, exist_ok=True)
        state = found.stat()
    except (OSError, RuntimeError):
        return None
    return None if state.st_uid != os.geteuid() or state.st_mode & WRITABLE_BY_OTHERS else found


def read_finding(key: Mapping[str, str]) -> Finding | None:
    """What a probe of the same things has found, or None."""
    found = read_all(f"finding-{digest(key)}.json", Finding)
    return next((finding for finding in found if dict(finding.key) == dict(key)), None)


def keep_finding(finding: Finding) -> bool:
    """Keep what was found for the next run; False where that can't be done."""
    return keep(f"finding-{digest(finding.key)}.json", tree_of(finding))


def keep(name: str, tree: Mapping[str, Any]) -> bool:
    """Write a record of the cache; False where that can't be done."""
    place = directory()
    if place is None:
        return False
    try:
        write_json(place / name, dict(tree))
    except OSError:
        return False
    return True


def read_all(pattern: str, kind: type[R]) -> Iterator[R]:
    """The records in the files of these names, but those that are damaged."""
    place = directory()
    for path in sorted(place.glob(pattern))[:MOST_FILES] if place is not None else ():
        with contextlib.suppress(DamagedFile):
            tree = read_json(path)
            if tree is not None:
                yield make(kind, tree, str(path))
