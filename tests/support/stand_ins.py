"""Commands that stand in for others': lines of bash, in a directory that is on PATH (the fixture `commands`)."""

from __future__ import annotations

from pathlib import Path


def stand_in(path: Path, lines: str) -> Path:
    """Make these lines of bash the command at `path`."""
    path.write_text(f"#!/bin/bash\n{lines}\n")
    path.chmod(0o755)
    return path
