"""The same training with other seeds, among the runs that lie beside a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launcher.errors import UserError
from launcher.report.comparison import IMMATERIAL
from launcher.runs.directory import RunDir
from launcher.runs.finding import list_runs
from launcher.runs.trust import checked


def repetitions(run: RunDir) -> list[RunDir]:
    """Completed runs with the recipe of this one but for the seed, one for each other seed; damaged ones are passed over."""
    recipe = run.plan_tree()["recipe"]
    wanted, found = _without_seed(recipe), {recipe.get("seed"): run}
    for other in list_runs(run.path.parent):
        try:
            tree = other.plan_tree().get("recipe")
            if other.path == run.path or not isinstance(tree, dict) or _without_seed(tree) != wanted:
                continue
            result = checked(other).read_result()
        except UserError:
            continue
        if result is not None and result.status == "completed":
            found.setdefault(tree.get("seed"), other)
    return [other for other in found.values() if other is not run]


def _without_seed(recipe: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in recipe.items() if key not in IMMATERIAL}
    return json.dumps(kept, sort_keys=True)
