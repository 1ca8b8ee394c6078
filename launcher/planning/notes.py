"""What a reader of a plan should know: choices made for them, figures that are not known, and what is too short for a save."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from launcher.executors import LOCAL, SCHEDULERS, executor_for
from launcher.families.shared.base import ModelShape
from launcher.figures import human_seconds
from launcher.planning.estimate import Setup
from launcher.planning.hardware import CPU, DEVICES, known_device
from launcher.planning.save_time import save_notes
from launcher.planning.surroundings import DataSize, Machine
from launcher.recipe.cluster import Cluster
from launcher.recipe.conflicts import highest_stages
from launcher.recipe.data import Data
from launcher.recipe.optimizers import OPTIMIZERS
from launcher.recipe.recipe import AUTO, Recipe
from launcher.runs.checkpoint_size import checkpoint_bytes

FORWARD = 1 / 3
"""Time of an evaluated example as a share of a trained one's: it is read once, and nothing goes back."""


def notes_of(
    recipe: Recipe,
    cluster: Cluster,
    machine: Machine,
    executor: str,
    shape: ModelShape | None,
    data: DataSize,
    setup: Setup,
) -> Iterator[str]:
    """What was chosen, and what isn't known."""
    world_size, examples = setup.world_size, recipe.batch.global_
    if recipe.zero.stage is None and setup.zero_stage:
        yield f"zero.stage is null: ZeRO-{setup.zero_stage} on {world_size} ranks"
    elif recipe.zero.stage is None and world_size > 1:
        why = " and ".join(key for key, most in highest_stages(recipe).items() if not most)
        yield f"zero.stage is null: plain PyTorch on {world_size} ranks, since {why} doesn't work on shards"
    if world_size > examples:
        idle = world_size - examples
        yield f"{idle} of {world_size} ranks have no example in a step: batch.global={examples} is smaller"
    elif examples % world_size:
        yield f"batch.global={examples} over {world_size} ranks is uneven: each example counts the same"
    if recipe.precision == "bf16" and (setup.device, executor) == ("cpu", LOCAL) and not machine.native_bf16:
        yield "this CPU only imitates bf16: precision=fp32 is about three times as fast here"
    optimizer, pretrained = recipe.train.optimizer, recipe.model.init == "pretrained"
    if OPTIMIZERS[optimizer].harms_pretrained and pretrained and recipe.tuning == "full":
        yield (
            f"train.optimizer={optimizer} makes weights that were pretrained by Adam forget, the more the higher the rate "
            "(Qu et al., 2026): adamw or tuning=lora suits them better"
        )
    gpu = known_device(cluster.gpu_model) if cluster.gpu_model else None
    if recipe.precision == "bf16" and setup.device == "cuda" and gpu is not None and not gpu.has_bf16:
        yield f"a {cluster.gpu_model} only imitates bf16: precision=fp16 is what it is made for"
    if executor in SCHEDULERS and recipe.executor == AUTO and machine.scheduler is None:
        yield f"planned for {executor}, which is not set up here: launch run works where its commands are"
    if shape is None:
        yield "the model's shape is not known here (no config.json in its directory or the hub cache): memory unknown"
    if data.train_examples is None:
        yield f"{_uncounted(recipe.data)}: steps are counted on the node"


def _uncounted(data: Data) -> str:
    """Why the training examples aren't counted before a launch."""
    if data.source is not None:
        rows = "rows data.source has" if PurePath(data.source).is_absolute() else "hub data there are"
        return f"how many {rows} is not known here"
    if data.group is not None and data.validation is None:
        return "how many rows the groups of data.group have is known when they are dealt out"
    for name in ("drop_leaked", "drop_duplicates", "drop_empty"):
        if getattr(data.clean, name):
            return f"how many rows data.clean.{name} leaves out is not known here"
    if data.shots is not None:
        return "how many classes data.shots is meant for is not known here"
    return "the training data are too large for their rows to be counted here"


def evaluation_note(trained: int | None, evaluated: int | None, rate: float | None) -> str | None:
    """What an evaluation takes where it reads more examples than the training, at `rate` a second, does in all.

    So it is in a short trial on large data.
    """
    if trained is None or evaluated is None or evaluated <= trained:
        return None
    takes = "" if rate is None else f", in about {human_seconds(evaluated / rate * FORWARD)}"
    return (
        f"each evaluation reads {evaluated:,} rows{takes}, and the whole training {trained:,}: data.limit and "
        "train.max_steps leave data.validation as it is"
    )


def speed_notes(cluster: Cluster, device: str, shape: ModelShape | None, rate: float | None) -> Iterator[str]:
    """Why no speed is predicted, where that is because of the device."""
    if device != "cuda" or shape is None or rate is not None:
        return
    if cluster.gpu_model is None:
        yield "no speed is predicted, since no gpu_model says what GPUs the nodes have"
    elif known_device(cluster.gpu_model) is None:
        known = ", ".join(name for name in DEVICES if name != CPU)
        yield (
            f"nothing is known of a {cluster.gpu_model}, so that no speed is predicted before a run was measured on one; "
            f"known are {known}"
        )


def time_notes(
    recipe: Recipe,
    cluster: Cluster,
    machine: Machine,
    executor: str,
    trained: int | None,
    optimizer: int | None,
    setup: Setup,
) -> Iterator[str]:
    """What of the time on a cluster is too short for a save."""
    if executor_for(executor).takes_nodes:
        size = checkpoint_bytes(trained, optimizer, setup.world_size if setup.zero_stage else 1)
        yield from save_notes(recipe.time, cluster.grace_s, machine.grace_s, size)
