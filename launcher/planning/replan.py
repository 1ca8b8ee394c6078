"""Planning a run anew for other ranks or another time, from the recipe that it has: the global batch and its order stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import Problem, UserError, choices
from launcher.executors import executor_for
from launcher.loading import resolve as loading
from launcher.planning import render
from launcher.planning.plan import Plan
from launcher.planning.prepare import check, plan_of, templates
from launcher.runs.directory import COMPARED, RunDir
from launcher.runs.files import write_text
from launcher.runs.records import read_text
from launcher.runs.run_plan import RunPlan

KEYS = ("nodes", "gpus", "time")


def replan(run: RunDir, words: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Plan:
    """Write the files of the run for other `nodes`, `gpus` or `time`; the plan. What was rendered before is replaced.

    Raises UserError where another key is given, or the run's checkpoints are those of its ranks.
    """
    _refuse_others(words)
    before = run.read_plan()
    fixed = (
        f"recipe={run.recipe}",
        "run_id=null",
        f"executor={before.executor}",
        f"zero.stage={before.zero_stage}",
    )
    surroundings = {name: value for name, value in environ.items() if not name.startswith("LAUNCH_")}
    own_loss = read_text(run.loss)
    planned = plan_of(check([*fixed, *words], surroundings, cwd), cwd, own_loss)
    if planned.world_size != before.world_size:
        _refuse_sharded(run, before, planned.recipe.zero.offload, words)
    recipe = planned.recipe.model_copy(update={"run_id": before.recipe.run_id})
    identity = {"name": before.name, "run_id": run.run_id, "run_dir": str(run.path), "recipe": recipe}
    plan = planned.model_copy(update=identity)
    _write(run, render.render(plan, templates(), loading.dump_recipe(recipe), own_loss))
    return plan


def _write(run: RunDir, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_text(run.path / name, text)
        if name in COMPARED and run.rendered.is_dir():
            write_text(run.rendered / name, text)


def cut_for_its_ranks(zero_stage: int, offload: str) -> str | None:
    """Which saved state only the same number of ranks can take up, in words; None where any can."""
    return f"ZeRO-{zero_stage} with zero.offload=nvme" if offload == "nvme" else None


def _refuse_sharded(run: RunDir, before: RunPlan, offload: str, words: Sequence[str]) -> None:
    how = cut_for_its_ranks(before.zero_stage, offload)
    if how is None:
        return
    reason = f"{how} saves a part of the state for each of {before.world_size} ranks"
    remedy = (
        f"launch resume {run.run_id} goes on with nodes={before.nodes} gpus={before.gpus}, as before; "
        "a new run with zero.offload=cpu or none can change them"
    )
    raise UserError(reason, where=run.run_id, field=words[0].partition("=")[0], remedy=remedy)


def _refuse_others(words: Sequence[str]) -> None:
    problems = [
        Problem("can't change on resuming", field=key, value=value, remedy=choices(key, KEYS))
        for key, _, value in (word.partition("=") for word in words)
        if key not in KEYS
    ]
    if problems:
        raise UserError(problems)


def refuse_active(run: RunDir) -> None:
    """Raises UserError where a job of the run may still read its files."""
    state = executor_for(run.read_plan().executor).state(run)
    if state.active:
        remedy = f"first: launch stop {run.run_id} --wait"
        raise UserError(f"has a job: {state.job_id}, {state.status}", where=run.run_id, remedy=remedy)
