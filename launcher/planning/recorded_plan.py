"""The whole plan of a run as its file has it, checked by the schema once more."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import DamagedFile, Problem
from launcher.planning.plan import Plan
from launcher.runs.records import read_text


def recorded_plan(path: Path) -> Plan:
    """The plan in a plan.json. Raises DamagedFile where it is none of this version."""
    from pydantic import ValidationError

    try:
        return Plan.model_validate_json(read_text(path) or "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        remedy = "it was changed by hand, or written by another version of launch"
        raise DamagedFile(
            Problem(f"{key}: {first['msg']}" if key else first["msg"], str(path), remedy=remedy)
        ) from None
