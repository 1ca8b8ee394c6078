"""What can be said of a run's own data without torch, before a verb that reads them again loads it."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import Problem, UserError
from launcher.loading.resolve import read_recipe_file
from launcher.planning.plan import step_counts
from launcher.reading.data_section import files
from launcher.reading.opening import missing_files
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.provenance import DataUsed, read_data_used


def recipe_with_data(run: RunDir, *, extra: bool = False) -> Recipe:
    """The run's recipe. Raises UserError where it can't be read, or a file of its data can't; `extra`: one of eval.extra, too."""
    recipe = read_recipe_file(run.recipe)
    data = recipe.data
    given = [] if data.source else [*files(data.train), *files(data.validation), *files(data.test)]
    given += map(Path, recipe.eval.extra.values()) if extra else ()
    if problems := missing_files(dict.fromkeys(given)):
        raise UserError(problems)
    return recipe


def recipe_of_step(run: RunDir, step: int) -> tuple[Recipe, DataUsed]:
    """The run's recipe and what is known of the data that it read. Raises UserError where the run has no such step."""
    recipe, used = recipe_with_data(run), read_data_used(run)
    if used is None:
        raise UserError("has read no data yet", where=run.run_id, remedy="ask again once it trains")
    total = step_counts(recipe, used.examples["train"])[1]
    if not 1 <= step <= total:
        problem = Problem("there is no such step", field="--step", value=step, remedy=f"1 to {total}")
        raise UserError(problem)
    return recipe, used
