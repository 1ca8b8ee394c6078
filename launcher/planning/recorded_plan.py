"""The whole plan of a run as its file has it, checked by the schema once more."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from launcher.planning.plan import Plan
from launcher.runs.planned_recipe import misfit
from launcher.runs.records import read_text


def recorded_plan(path: Path) -> Plan:
    """The plan in a plan.json. Raises DamagedFile where it is none of this version."""
    try:
        return Plan.model_validate_json(read_text(path) or "")
    except ValidationError as error:
        raise misfit(error, path) from None
