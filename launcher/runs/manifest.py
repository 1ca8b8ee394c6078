"""What a checkpoint holds: the record of manifest.json, which is written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.runs.records import read_record

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Every file of a checkpoint by its path in it."""

    step: int
    files: Mapping[str, FileEntry]


def read_manifest(checkpoint: Path) -> Manifest | None:
    """A checkpoint's manifest, or None where it was never finished. Raises DamagedFile."""
    path = checkpoint / MANIFEST
    return read_record(Manifest, path)
