"""Contradictions between a recipe and where or what it is to train: the machine, the cluster, the model. Pure, as the plan is."""

from __future__ import annotations

from collections.abc import Iterator

from launcher import tasks
from launcher.errors import Conflict, UserError
from launcher.executors import LOCAL
from launcher.families import FAMILIES, find
from launcher.families.shared.base import ModelShape, resolve_lora_targets
from launcher.planning.compile_mode import compile_conflicts
from launcher.planning.plan import step_counts
from launcher.planning.surroundings import (
    Machine,
    resolve_device,
    resolve_executor,
    resolve_place,
)
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.runs.time_limits import minutes


def plan_conflicts(
    recipe: Recipe,
    cluster: Cluster,
    machine: Machine,
    shape: ModelShape | None,
    train_examples: int | None = None,
) -> Iterator[Conflict]:
    """Every contradiction between the recipe and the machine, the cluster, the model or the size of the data."""
    executor = resolve_executor(recipe, machine)
    device = resolve_device(recipe, cluster, machine, executor)
    if executor == LOCAL:
        yield from _local_conflicts(recipe, machine)
    else:
        yield from _limit_conflicts(recipe, cluster)
    if recipe.precision == "fp16" and device == "cpu" and recipe.device != "cpu":
        yield Conflict(
            ("precision", "device"),
            "fp16 needs a GPU, and there is none here",
            "use precision=bf16 or precision=fp32 on the CPU",
        )
    yield from _warmup_conflicts(recipe, train_examples)
    yield from compile_conflicts(recipe, resolve_place(recipe, cluster, machine, shape))
    if shape is not None:
        yield from _shape_conflicts(recipe, shape)


def _warmup_conflicts(recipe: Recipe, train_examples: int | None) -> Iterator[Conflict]:
    steps = recipe.train.max_steps
    if steps is None and train_examples is not None:
        _, steps, _ = step_counts(recipe, train_examples)
    warmup = recipe.train.warmup
    if steps is not None and isinstance(warmup, int) and warmup > steps:
        yield Conflict(
            ("train.warmup", "train.max_steps", "train.epochs"),
            f"the whole training has {steps:,} steps",
            "give fewer steps, or a share of them such as train.warmup=0.06",
        )


def _local_conflicts(recipe: Recipe, machine: Machine) -> Iterator[Conflict]:
    if recipe.most_nodes > 1:
        yield Conflict(
            ("nodes", "executor"),
            "more than one node needs Slurm"
            + (
                "" if recipe.executor == LOCAL else ", and none is set up here (sbatch and its configuration)"
            ),
            "use gpus=N for several ranks on this machine, run where sbatch is, "
            "or try it on this machine's development cluster: make cluster",
        )
    if recipe.device == "cuda" and machine.gpus == 0:
        yield Conflict(("device",), "no GPU was found on this machine", "use device=auto or device=cpu")
    elif recipe.device != "cpu" and 0 < machine.gpus < (recipe.gpus or 0):
        yield Conflict(
            ("gpus",), f"this machine has {machine.gpus}", f"use gpus={machine.gpus} or less, or device=cpu"
        )


def _limit_conflicts(recipe: Recipe, cluster: Cluster) -> Iterator[Conflict]:
    limits = cluster.limits
    if limits.nodes is not None and recipe.most_nodes > limits.nodes:
        yield Conflict(
            ("nodes", "cluster"), f"the cluster allows {limits.nodes}", f"use nodes={limits.nodes} or less"
        )
    most = limits.gpus if limits.gpus is not None else (cluster.gpus_per_node or None)
    if most is not None and recipe.device != "cpu" and recipe.gpus is not None and recipe.gpus > most:
        yield Conflict(("gpus", "cluster"), f"a node has {most}", f"use gpus={most} or less")
    if recipe.device == "cuda" and cluster.gpus_per_node == 0:
        yield Conflict(("device", "cluster"), "the cluster has no GPUs", "use device=auto or device=cpu")
    if recipe.time is not None and limits.time is not None and minutes(recipe.time) > minutes(limits.time):
        yield Conflict(
            ("time", "cluster"), f"the cluster allows {limits.time}", f"use time={limits.time} or less"
        )
    if recipe.time is not None and (cluster.grace_s or 0) >= minutes(recipe.time) * 60:
        yield Conflict(
            ("time", "cluster"),
            f"the profile's grace_s={cluster.grace_s} leaves no time to train: jobs stop that many seconds before the limit",
            "give more time, or a smaller grace_s in the profile",
        )


def _shape_conflicts(recipe: Recipe, shape: ModelShape) -> Iterator[Conflict]:
    longest = recipe.data.max_length
    if longest is not None and longest > shape.max_length:
        yield Conflict(
            ("data.max_length", "model.name"),
            f"the model holds {shape.max_length} tokens",
            f"use data.max_length={shape.max_length} or less, or a model for longer texts",
        )
    if recipe.precision == "fp16" and shape.family.overflows_in_fp16(shape):
        yield Conflict(
            ("precision", "model.name"),
            f"the hidden states of this {shape.family.name} encoder exceed 65,504, which fp16 can't hold",
            "use precision=bf16, or precision=fp32 on a GPU without bf16",
        )
    if recipe.model.gradient_checkpointing and not shape.family.can_checkpoint:
        yield Conflict(
            ("model.gradient_checkpointing", "model.name"),
            f"transformers can't compute the layers of a {shape.family.name} encoder again",
            "leave it out; a smaller batch.micro needs less memory too",
        )
    if recipe.model.dropout.classifier is not None and not shape.family.dropout.classifier:
        yield Conflict(
            ("model.dropout.classifier", "model.name"),
            f"the heads of {shape.family.name} encoders have no dropout of their own",
            "set model.dropout.hidden, which they follow",
        )
    if recipe.prune.shrinks and not shape.family.can_shrink:
        key = next(key for key in ("heads", "ffn", "layers") if getattr(recipe.prune, key))
        yield Conflict(
            (f"prune.{key}", "model.name"),
            f"nothing can be taken out of a {shape.family.name} encoder yet",
            "families that can be pruned: " + ", ".join(name for name in FAMILIES if find(name).can_shrink),
        )
    yield from tasks.of(recipe).width_conflicts(shape.hidden)
    yield from _layer_conflicts(recipe, shape)
    yield from _target_conflicts(recipe, shape)


def _layer_conflicts(recipe: Recipe, shape: ModelShape) -> Iterator[Conflict]:
    for key, layers in (
        ("freeze.layers", recipe.model.freeze.layers),
        ("reinit_layers", recipe.model.reinit_layers),
    ):
        if layers > shape.own_layers:
            sharing = ", which share one set of weights" if shape.own_layers == 1 < shape.layers else ""
            yield Conflict(
                (f"model.{key}", "model.name"),
                f"the model has {shape.layers} layers{sharing}",
                f"use model.{key}={shape.own_layers} or less",
            )


def _target_conflicts(recipe: Recipe, shape: ModelShape) -> Iterator[Conflict]:
    if recipe.tuning != "lora":
        return
    try:
        resolve_lora_targets(shape, recipe.lora.targets)
    except UserError as error:
        for problem in error.problems:
            yield Conflict(
                ("lora.targets", "model.name"),
                f"{problem.value}: {problem.message}",
                problem.remedy or "",
            )
