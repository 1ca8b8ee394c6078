"""Which commit of a hub's model a run trains: what the branch stood for at its first start, at each later one too."""

from __future__ import annotations

import re
from pathlib import Path

from launcher.planning.model_config import cached_model
from launcher.planning.plan import Plan
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.provenance import HubModel, read_hub_model
from launcher.runs.records import tree_of
from launcher.train.pretrained import load_config
from launcher.train.process.ranks import Ranks

_COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned(run: RunDir, plan: Plan, ranks: Ranks) -> Plan:
    """The plan with the recorded commit as `model.revision`; rank 0 records it where no attempt has.

    Raises RunFailed('model') where the model can't be had.
    """
    commit = ranks.broadcast(_commit(run, plan.recipe) if ranks.is_main else None)
    if commit is None:
        return plan
    model = plan.recipe.model.model_copy(update={"revision": commit})
    return plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"model": model})})


def _commit(run: RunDir, recipe: Recipe) -> str | None:
    """None where the model is made from scratch or comes from a directory."""
    name, revision = recipe.model.name, recipe.model.revision or "main"
    if name is None or Path(name).is_dir():
        return None
    recorded = read_hub_model(run)
    if recorded is not None and (recorded.name, recorded.revision) == (name, revision):
        return recorded.commit
    load_config(name, recipe.model.revision)  # leaves in the cache what the branch stands for
    found = cached_model(name, revision)
    if found is None or not _COMMIT.fullmatch(found.name):
        return None
    run.provenance.mkdir(mode=0o700, exist_ok=True)
    write_json(run.hub_model, tree_of(HubModel(name, revision, found.name)))
    return found.name
