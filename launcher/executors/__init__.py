"""Where jobs run: a file here is an executor, this machine or a scheduler; `shared` has what they have in common."""

from __future__ import annotations

import importlib

from launcher.errors import UserError, choices
from launcher.executors.shared.base import Executor, JobState, Status
from launcher.resources import module_names

__all__ = ["EXECUTORS", "SCHEDULERS", "Executor", "JobState", "Status", "executor_for"]

EXECUTORS = module_names("executors")
LOCAL = "local"
SCHEDULERS = tuple(name for name in EXECUTORS if name != LOCAL)
"""Executors that take jobs for other machines; `auto` looks for the first that is set up."""


def executor_for(kind: str) -> Executor:
    """The executor that a plan's `executor` names. Raises UserError where there is none of that name."""
    if kind not in EXECUTORS:
        remedy = choices(kind, EXECUTORS)
        raise UserError("there is no such executor", field="executor", value=kind, remedy=remedy)
    made: Executor = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}").EXECUTOR()
    return made
