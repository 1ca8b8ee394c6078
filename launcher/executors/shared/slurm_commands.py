"""Slurm's own commands and what they say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from launcher.errors import Problem, UserError

COMMAND_TIMEOUT_S = 60.0
"""Longest that one of Slurm's commands may take."""


def run_slurm(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; one that doesn't return has failed. Raises UserError where it isn't installed."""
    try:
        return subprocess.run(
            command,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except FileNotFoundError:
        remedy = "log in to the cluster, use executor=local, or try: make cluster"
        raise UserError(Problem(f"Slurm is not here: no {command[0]} on PATH", remedy=remedy)) from None
    except subprocess.TimeoutExpired:
        said = f"{command[0]} did not return in {COMMAND_TIMEOUT_S:.0f} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)


def message_of(stderr: str) -> str:
    """What Slurm said, on one line and without its prefixes."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))
