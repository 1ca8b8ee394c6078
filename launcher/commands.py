"""Small programs that are asked something, such as git and a scheduler's own commands."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT_S = 3.0


def run_command(
    command: Sequence[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """How a program ended and what it printed, which reads what it is given or nothing.

    Raises OSError where it can't be started, and TimeoutExpired.
    """
    reads: dict[str, Any] = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        **reads,
    )


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str | None:
    """What a program prints; None where it isn't there, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = run_command(command, timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
