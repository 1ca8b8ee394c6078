"""What was observed of the machine and the data, and what follows from it: the scheduler, the device, and ranks per node.

Pure: the command line passes in what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.engine.speeds import NOTHING, Known
from launcher.executors import LOCAL, SCHEDULERS, executor_for
from launcher.families.shared.base import ModelShape
from launcher.planning.compile_mode import ComputedOn
from launcher.planning.estimate import Setup
from launcher.planning.layout import setup_of
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import AUTO, Recipe


@dataclass(frozen=True)
class Machine:
    """What was observed where `launch` runs; the CLI fills it in."""

    scheduler: str | None = None
    """The scheduler that jobs can be submitted to from here, by the name of its executor."""
    submits: bool = True
    """Whether the plan is to be started from here; a plan that is only shown needs no cluster."""
    gpus: int = 0
    """GPUs of this machine."""
    native_bf16: bool = True
    """Whether this machine's CPU computes in bf16 itself."""
    cores: int = 1
    """CPU cores of this machine."""
    threads: int | None = None
    """In which a process computes here; None: as many as there are cores for it."""
    cpu: str | None = None
    """What this machine's CPU calls itself."""
    known: Known = NOTHING
    """What was seen of devices before."""
    scheduler_gpus: int | None = None
    """GPUs of a node as the scheduler declares them; None where nobody could say."""
    grace_s: float | None = None
    """Seconds that a job gets which gives way to another; None where that doesn't happen, or nobody could say."""


@dataclass(frozen=True)
class DataSize:
    """How much data there is; None where only a node can know (hub data, files too large to be counted)."""

    train_examples: int | None = None
    mean_chars: float | None = None
    """Mean length of a text, or of both texts of a pair, in characters of English with as many tokens."""


def resolve_executor(recipe: Recipe, machine: Machine) -> str:
    """`auto` means the scheduler that is set up here; for a plan that is only shown, some scheduler where it is for a cluster."""
    if recipe.executor != AUTO:
        return recipe.executor
    for_cluster = not machine.submits and (recipe.most_nodes > 1 or recipe.cluster is not None)
    return machine.scheduler or (SCHEDULERS[0] if for_cluster else LOCAL)


def resolve_device(
    recipe: Recipe, cluster: Cluster, machine: Machine, executor: str
) -> Literal["cuda", "cpu"]:
    """`auto` means GPUs, unless this machine, the profile or the scheduler says that there are none."""
    if recipe.device != "auto":
        return recipe.device
    return "cpu" if _available_gpus(cluster, machine, executor) == 0 else "cuda"


def resolve_gpus(recipe: Recipe, cluster: Cluster, machine: Machine, executor: str, device: str) -> int:
    """Ranks per node: as asked, or one for each GPU of a node, or one process on CPU."""
    if recipe.gpus is not None and not (device == "cpu" and recipe.gpus == cluster.gpus_per_node):
        return recipe.gpus
    return 1 if device == "cpu" else max(1, _available_gpus(cluster, machine, executor) or 0)


def resolve_place(recipe: Recipe, cluster: Cluster, machine: Machine, shape: ModelShape | None) -> ComputedOn:
    """Where the recipe trains, as far as compiling goes."""
    executor = resolve_executor(recipe, machine)
    device = resolve_device(recipe, cluster, machine, executor)
    gpus = resolve_gpus(recipe, cluster, machine, executor, device)
    return place_of(shape, setup_of(recipe, recipe.most_nodes * gpus, device))


def place_of(shape: ModelShape | None, setup: Setup) -> ComputedOn:
    """The same from what has been resolved."""
    return ComputedOn(
        setup.device, setup.world_size, setup.zero_stage, None if shape is None else shape.family
    )


def _available_gpus(cluster: Cluster, machine: Machine, executor: str) -> int | None:
    """GPUs of a node; None where nobody says."""
    if not executor_for(executor).takes_nodes:
        return machine.gpus
    if cluster.gpus_per_node is not None:
        return cluster.gpus_per_node
    return machine.scheduler_gpus
