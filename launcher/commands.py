"""Small programs that are asked something, such as git and a scheduler's own commands."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

TIMEOUT_S = 3.0


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str | None:
    """What a program prints; None where it isn't there, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
