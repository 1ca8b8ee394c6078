"""Where jobs run: `local` is this machine, `slurm` a scheduler's cluster."""

from __future__ import annotations

from launcher.errors import Problem, UserError
from launcher.executors.base import Executor, JobState, Status

__all__ = ["Executor", "JobState", "Status", "executor_for"]


def executor_for(kind: str) -> Executor:
    """The executor that a plan's `executor` names. Raises UserError where there is none of that name."""
    if kind == "slurm":
        from launcher.executors.slurm import SlurmExecutor

        return SlurmExecutor()
    if kind != "local":
        raise UserError(Problem("there is no such executor", field="executor", value=kind))
    from launcher.executors.local import LocalExecutor

    return LocalExecutor()
