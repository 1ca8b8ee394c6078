"""The same training with other seeds, among the runs that lie beside a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launcher.errors import UserError
from launcher.runs.directory import RunDir
from launcher.runs.finding import list_runs
from launcher.runs.provenance import read_data_used
from launcher.runs.trust import checked

IMMATERIAL = (
    "seed",
    "run_id",
    "runs_dir",
    "description",
    "time",
    "cluster",
    "executor",
    "requeue",
    "tracking",
    "checkpoint",
    "debug",
)
"""Keys of a recipe that change nothing about what is trained, and the seed."""


def training_of(run: RunDir, recipe: Mapping[str, Any]) -> str:
    """Equal for runs that differ in nothing but the seed: the recipe without what changes nothing, and digests of its files.

    Raises DamagedFile.
    """
    kept = {key: value for key, value in recipe.items() if key not in IMMATERIAL}
    used = read_data_used(run)
    files = sorted((file.split, file.sha256) for file in used.files) if used is not None else []
    return json.dumps([kept, files], sort_keys=True)


def repetitions(run: RunDir) -> list[RunDir]:
    """Completed runs of the same training, one for each other seed; damaged ones are passed over."""
    recipe = run.plan_tree()["recipe"]
    wanted, found = training_of(run, recipe), {recipe.get("seed"): run}
    for other in list_runs(run.path.parent):
        try:
            tree = other.plan_tree().get("recipe")
            if other.path == run.path or not isinstance(tree, dict):
                continue
            if training_of(checked(other), tree) != wanted:
                continue
            result = other.read_result()
        except UserError:
            continue
        if result is not None and result.status == "completed":
            found.setdefault(tree.get("seed"), other)
    return [other for other in found.values() if other is not run]
