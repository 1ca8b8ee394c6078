"""The run that `wandb agent` names, where it has started it before: W&B has agents take up again what was preempted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import paths
from launcher.errors import UserError
from launcher.loading.assignments import NAMED_BY_AN_AGENT
from launcher.loading.resolve import load, read_recipe_file
from launcher.planning.prepare import prepare
from launcher.runs.directory import RunDir
from launcher.runs.trust import checked

ORIGIN = "environment WANDB_RUN_ID"


def begun_by_agent(
    assignments: Sequence[str], environ: Mapping[str, str], cwd: Path, loss_file: Path | None = None
) -> RunDir | None:
    """None where no agent names the run, or it is a new one.

    Raises UserError where it was started with another recipe, and with every mistake in the words.
    """
    if not all(environ.get(name) for name in NAMED_BY_AN_AGENT):
        return None
    loaded = load(assignments, environ=environ, cwd=cwd)
    path = cwd / loaded.recipe.runs_dir / str(loaded.recipe.run_id)
    if loaded.origins["run_id"] != ORIGIN or not paths.exists(path / "plan.json"):
        return None
    run = checked(RunDir(path.resolve()))
    asked = prepare([*assignments, "run_id=null"], environ, cwd, loss_file).plan.recipe
    if asked.tree(without="identity") != read_recipe_file(run.recipe).tree(without="identity"):
        remedy = f"launch resume {run.run_id} goes on with it as it was"
        raise UserError("was started with another recipe", ORIGIN, "run_id", run.run_id, remedy)
    return run
