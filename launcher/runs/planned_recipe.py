"""The recipe of a run, as its plan has it, checked by the schema once more: pages and cards read every part of it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from launcher.errors import DamagedFile
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir


def planned_recipe(run: RunDir) -> Recipe:
    """The recipe in plan.json. Raises UserError where this is no run, DamagedFile where it is no recipe of this version."""
    run.read_plan()
    try:
        return Recipe.model_validate_json(json.dumps(run.plan_tree()["recipe"]))
    except ValidationError as error:
        raise misfit(error, run.plan, "recipe.") from None


def misfit(error: ValidationError, path: Path, section: str = "") -> DamagedFile:
    """The first place where a recorded plan, or a section of it, is none of this version."""
    first = error.errors(include_url=False)[0]
    key = section + ".".join(map(str, first["loc"]))
    remedy = "it was changed by hand, or written by another version of launch"
    return DamagedFile(f"{key}: {first['msg']}" if key else first["msg"], str(path), remedy=remedy)
