"""A recipe.yaml that was changed by hand and accepted: its values go into plan.json, which is what is trained."""

from __future__ import annotations

from typing import Any

from launcher.errors import DamagedFile, Problem, UserError
from launcher.loading.resolve import read_recipe_file
from launcher.recipe.recipe import leaf_values
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.records import read_text

NOT_PLANNED = ("train.", "eval.", "checkpoint.", "tracking.", "debug.", "seed", "description")
"""Keys, and starts of keys, from which nothing else in a plan is worked out,"""
PLANNED = ("train.epochs", "train.max_steps", "train.warmup", "train.compile")
"""but for these."""


def take_over(run: RunDir) -> None:
    """Write into plan.json what was changed in recipe.yaml since it was rendered.

    Raises UserError where that is no recipe any more, or changes what the plan was worked out from.
    """
    rendered = run.rendered / run.recipe.name
    before = read_text(rendered)
    if before is None or before == read_text(run.recipe):
        return
    old = dict(leaf_values(read_recipe_file(rendered).tree()))
    new = read_recipe_file(run.recipe)
    changed = {key: value for key, value in leaf_values(new.tree()) if old.get(key) != value}
    _refuse_planned(run, changed)
    plan = run.plan_tree()
    for key, value in changed.items():
        _put(plan["recipe"], key, value, run)
    if changed:
        write_json(run.plan, plan)


def _put(recipe: Any, key: str, value: Any, run: RunDir) -> None:
    """Set a key of the recipe in a plan. Raises DamagedFile where its section isn't there."""
    *sections, name = key.split(".")
    for section in sections:
        recipe = recipe.get(section)
        if not isinstance(recipe, dict):
            raise DamagedFile(f"recipe.{key}: its section is missing", where=str(run.plan))
    recipe[name] = value


def _refuse_planned(run: RunDir, changed: dict[str, Any]) -> None:
    """Raises UserError where layout, steps, memory or the data of the run were planned from another value."""
    problems = [
        Problem(
            "the run was planned with another value",
            where=str(run.recipe),
            field=key,
            value=value,
            remedy=f"undo it, or start a new run: launch {run.recipe_word} run_id=null",
        )
        for key, value in changed.items()
        if key in PLANNED or not key.startswith(NOT_PLANNED)
    ]
    if problems:
        raise UserError(problems)
