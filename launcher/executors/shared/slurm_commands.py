"""Slurm's own commands and what they say."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from launcher.commands import run_command
from launcher.executors.shared.environment import split_environment

COMMAND_TIMEOUT_S = 60.0
"""Longest that one of Slurm's commands may take."""
CLUSTERS = "SLURM_CLUSTERS"
"""By this variable a site with several clusters says which of them all of Slurm's commands are about."""


def run_slurm(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; one that doesn't return, or isn't here, has failed.

    Without an `environment` it has this process's, but tells times as they are read here, whatever the user likes to see.
    """
    if environment is None:
        environment = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        return run_command(command, COMMAND_TIMEOUT_S, environment)
    except FileNotFoundError:
        said = f"no {command[0]} on PATH"
        return subprocess.CompletedProcess(command, 127, stdout="", stderr=said)
    except subprocess.TimeoutExpired:
        said = f"{command[0]} did not return in {COMMAND_TIMEOUT_S:.0f} s"
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=said)


def environment_apart(pass_env: Iterable[str] = ()) -> dict[str, str]:
    """What srun starts a job of its own with, also where this is called within a job, whose variables ask for as much."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SBATCH_", "SRUN_")) or name == "SLURM_CONF"
    }
    return split_environment(own, pass_env).passed


def of_cluster() -> list[str]:
    """The option for a submission that names the cluster, where the environment does: a job's own has no such variable."""
    named = os.environ.get(CLUSTERS)
    return [f"--clusters={named}"] if named else []


def message_of(stderr: str) -> str:
    """What Slurm said, on one line and without its prefixes."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))
