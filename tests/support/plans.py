"""Plans and run directories made without a command line, for tests of what happens after planning."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.stand_ins import stand_in

from launcher.planning.plan import Identity, Plan, make_plan
from launcher.planning.render import render
from launcher.planning.surroundings import DataSize, Machine
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.runs import directory as runs
from launcher.runs.directory import RunDir

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "recipes" / "smoke"

TINY: dict[str, Any] = {
    "task": "classification",
    "device": "cpu",
    "precision": "fp32",
    "model": {"init": "scratch", "scratch": {"hidden": 32, "layers": 1, "intermediate": 64}},
    "data": {"train": str(SMOKE / "train.csv"), "validation": str(SMOKE / "validation.csv")},
    "batch": {"global": 16},
    "train": {"max_steps": 4, "lr": 1e-3},
    "tracking": {"wandb": {"mode": "disabled"}},
}
"""A recipe that trains in a second."""


def templates() -> dict[str, str]:
    """The shipped templates by file name."""
    files = [*ROOT.glob("slurm/*.j2"), *ROOT.glob("ds_configs/*.json")]
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def plan_of(
    recipe: Mapping[str, Any],
    cluster: Mapping[str, Any] | None = None,
    *,
    run_dir: Path = Path("/runs/example"),
    python: str | None = None,
    scheduler: str | None = "slurm",
) -> Plan:
    """The plan of TINY with `recipe` laid over it; `python` is that of the nodes."""
    profile = Cluster.model_validate_json(json.dumps(cluster or {}))
    identity = Identity(
        name="example",
        run_id=run_dir.name,
        run_dir=str(run_dir),
        python=python or profile.python or sys.executable,
        git_commit=None,
        launcher_version="0.1.0",
    )
    tree = merged(TINY, recipe)
    machine = Machine(scheduler=scheduler)
    return make_plan(
        Recipe.model_validate_json(json.dumps(tree)), profile, machine, identity, None, DataSize(2400)
    )


def rendered(plan: Plan) -> dict[str, str]:
    """The files of the plan's run directory."""
    return render(plan, templates(), json.dumps(plan.recipe.tree(), indent=2) + "\n")


def new_run(plan: Plan) -> RunDir:
    """The plan's run directory, made on disk."""
    return runs.create(Path(plan.run_dir), rendered(plan))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def stand_in_python(path: Path, training: str) -> str:
    """An interpreter for the nodes that runs `launcher.node` for real and the shell lines `training` for torchrun.

    They see $LAUNCHER_ATTEMPT, and the run directory as $run_dir.
    """
    node = f'if [[ $2 == launcher.node ]]; then exec {sys.executable} "$@"; fi'
    return str(stand_in(path, f"{node}\nrun_dir=${{*: -1}}\n{training}"))


def write_bare_model(directory: Path, **config: Any) -> None:
    """A directory that is whole as a model's files go, without weights, for what is decided before one is loaded."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text("{}")
    header = b"{}"
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
