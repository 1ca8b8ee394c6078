"""A workspace at W&B with the panels laid out that a training fills: loss, evaluations, speed, machines."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from launcher import tasks
from launcher.errors import RunFailed, UserError
from launcher.planning.plan import Plan
from launcher.planning.recorded_plan import recorded_plan
from launcher.runs.directory import RunDir
from launcher.train.record.wandb_client import be_online, one_line, refuse_without_key

NAME = "launch"
MOST_NODES = 16
Sections = dict[str, dict[str, list[str]]]
"""Section -> title of a panel -> what it draws over the steps."""


def lay_out(run: RunDir) -> str:
    """Make a workspace in the run's project, and return its address. Raises UserError or RunFailed."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        text = "a workspace needs wandb-workspaces, which is not installed"
        raise UserError(text, remedy="pip install 'launch-encoders[workspace]'")
    be_online()
    import wandb

    plan = recorded_plan(run.plan)
    settings = plan.recipe.tracking.wandb
    refuse_without_key(wandb)
    try:
        entity = settings.entity or wandb.Api().default_entity
        return _saved(str(entity), settings.project, panels(plan))
    except Exception as error:  # noqa: BLE001 - wandb raises many kinds
        remedy = "is this machine online? look at tracking.wandb.project and entity of the recipe, too"
        raise RunFailed("tracking", f"W&B does not take the workspace ({one_line(error)})", remedy) from None


def _saved(entity: str, project: str, sections: Sections) -> str:
    import wandb_workspaces.reports.v2 as reports
    from wandb_workspaces.workspaces import Section, Workspace

    plot: Any = reports.LinePlot  # type: ignore[attr-defined]  # re-exported by a star
    shown: list[Any] = [
        Section(
            name=name,
            panels=[plot(title=title, x="Step", y=keys) for title, keys in plots.items()],
            is_open=True,
        )
        for name, plots in sections.items()
    ]
    workspace: Any = Workspace(entity=entity, project=project, name=NAME, sections=shown)
    workspace.save()
    return str(workspace.url)


def panels(plan: Plan) -> Sections:
    """What a run of this plan records, section by section; the metric that chooses the best model first."""
    task = tasks.of(plan.recipe)
    metrics = dict.fromkeys((task.chosen_metric, *task.metrics_of(None)))
    return {
        "Loss": {"loss": ["train/loss", "eval/loss"]}
        | {key: [f"train/{key}"] for key in ("lr", "grad_norm")},
        "Evaluation": {name: [f"eval/{name}", f"test/{name}"] for name in metrics if name != "loss"},
        "Speed": {key: [f"perf/{key}"] for key in ("step_s", "examples_per_s", "tokens_per_s", "padding")},
        "Machines": dict(_machines(min(plan.nodes, MOST_NODES), plan.device == "cuda")),
    }


def _machines(nodes: int, has_gpus: bool) -> Iterator[tuple[str, list[str]]]:
    kinds = ("cpu_percent", "memory_percent", *(("gpu_percent", "gpu_memory_percent") if has_gpus else ()))
    for kind in kinds:
        yield kind, [f"node/{node}/{kind}" for node in range(nodes)]
