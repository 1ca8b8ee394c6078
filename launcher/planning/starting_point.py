"""Keys that name a run or a directory whose model is used: settled on the directory before anything is planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher.errors import UserError
from launcher.loading.resolve import Loaded, read_recipe_file
from launcher.planning.model_files import ADAPTER
from launcher.runs.best_model import no_model
from launcher.runs.directory import RunDir
from launcher.runs.finding import find


def with_model_directories(loaded: Loaded, cwd: Path) -> Loaded:
    """The recipe with the directories that `init_from` and `distill.teacher` mean, its model being the former.

    Raises UserError where there is no such run, or it has no model.
    """
    recipe = loaded.recipe
    if recipe.distill.teacher is not None:
        teacher = _model_directory(loaded, "distill.teacher", recipe.distill.teacher, cwd)
        _check_teacher(loaded, RunDir(teacher.parent), recipe.distill.teacher)
        distill = recipe.distill.model_copy(update={"teacher": str(teacher)})
        recipe = recipe.model_copy(update={"distill": distill})
    if recipe.init_from is not None:
        start = str(_model_directory(loaded, "init_from", recipe.init_from, cwd))
        model = recipe.model.model_copy(update={"name": start, "revision": None, "init": "pretrained"})
        recipe = recipe.model_copy(update={"init_from": start, "model": model})
    return replace(loaded, recipe=recipe)


def _model_directory(loaded: Loaded, key: str, reference: str, cwd: Path) -> Path:
    """The model meant by a run's id, the start of one, its directory, or the directory of a model."""
    if any((Path(reference) / name).is_file() for name in ("config.json", ADAPTER)):
        return Path(reference).resolve()
    origin = loaded.origins[key]
    try:
        run = find(reference, cwd / loaded.recipe.runs_dir)
    except UserError as error:
        raise UserError(
            replace(problem, where=origin, field=key, value=reference) for problem in error.problems
        ) from None
    return _model_of(run, key, origin)


def _check_teacher(loaded: Loaded, run: RunDir, given: str) -> None:
    """Raises UserError where the teacher is the model of a run whose recipe can't be read, or names another task."""
    if not run.recipe.is_file():
        return
    origin = loaded.origins["distill.teacher"]
    try:
        task = read_recipe_file(run.recipe).task
    except UserError as error:
        why = "; ".join(f"{problem.where}: {problem.message}" for problem in error.problems)
        raise UserError(
            f"its recipe can't be read: {why}", origin, "distill.teacher", given, "give another run"
        ) from None
    if task != loaded.recipe.task:
        text, remedy = f"was trained for task={task}", f"give a run of task={loaded.recipe.task}"
        raise UserError(text, origin, "distill.teacher", given, remedy)


def _model_of(run: RunDir, key: str, origin: str) -> Path:
    if (run.model / "config.json").is_file():
        return run.model
    message, remedy = no_model(run)
    raise UserError(f"this run {message}", origin, key, run.run_id, remedy)
