"""The recipe of a run, as its plan has it, checked by the schema once more: reports read every part of it."""

from __future__ import annotations

import json

from launcher.errors import DamagedFile, Problem
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir


def planned_recipe(run: RunDir) -> Recipe:
    """The recipe in plan.json. Raises UserError where this is no run, DamagedFile where it is no recipe of this version."""
    from pydantic import ValidationError

    run.read_plan()
    try:
        return Recipe.model_validate_json(json.dumps(run.plan_tree()["recipe"]))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        remedy = "it was changed by hand, or written by another version of launch"
        raise DamagedFile(Problem(f"recipe.{key}: {first['msg']}", str(run.plan), remedy=remedy)) from None
