"""The plan: one recipe resolved on one cluster, immutable, and everything that is rendered or run comes from it.

`make_plan` is pure: facts about the machine, the data and the model's shape are passed in.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from launcher import tasks
from launcher.engine.machine import cores_of_rank
from launcher.executors import executor_for
from launcher.executors.shared.slurm_request import SlurmRequest, slurm_request
from launcher.families.shared.base import ModelShape
from launcher.planning.compile_mode import Compile, resolve_compile
from launcher.planning.estimate import Setup, estimate_memory, estimate_traffic
from launcher.planning.layout import Layout, layout_of, setup_of
from launcher.planning.notes import notes_of, speed_notes, time_notes
from launcher.planning.sharding import Resolved, Way, advice, ways
from launcher.planning.step_time import Planned
from launcher.planning.surroundings import (
    DataSize,
    Machine,
    place_of,
    resolve_device,
    resolve_executor,
    resolve_gpus,
)
from launcher.planning.throughput import Facts, Throughput, Variant, predict, step_seconds
from launcher.recipe.cluster import Cluster
from launcher.recipe.fields import Record
from launcher.recipe.recipe import Recipe


class Steps(Record):
    """Length of the training; None where the size of the data is known only on the node."""

    train_examples: int | None
    per_epoch: int | None
    total: int | None
    warmup: int | None


class Memory(Record):
    """Predicted bytes on one rank at the peak; all None where the model's shape is unknown."""

    weights: int | None = None
    gradients: int | None = None
    optimizer: int | None = None
    activations: int | None = None
    other: int | None = None
    total: int | None = None
    host: int | None = None
    """Main memory that holds what is offloaded."""
    disk: int | None = None
    """NVMe that holds what is offloaded."""
    capacity: int | None = None
    """Memory of the GPU, where the cluster profile says it."""


class Traffic(Record):
    """Predicted bytes that one rank sends in an optimizer step, and the parameters behind them."""

    parameters: int | None = None
    trainable_parameters: int | None = None
    bytes_per_step: int | None = None


class Plan(Record):
    """A resolved launch."""

    plan_id: str
    """Hash of what is planned: the same for every run of the same thing."""
    name: str
    """The recipe's name."""
    run_id: str
    run_dir: str
    """Absolute path of the run directory."""
    python: str
    """Python that trains on the nodes."""
    git_commit: str | None
    launcher_version: str
    executor: str
    """Name of the executor."""
    device: Literal["cuda", "cpu"]
    strategy: Literal["plain", "deepspeed"]
    nodes: int
    """The most that train."""
    least_nodes: int | None = None
    """The fewest that do, where the recipe gives a range; None where it needs all."""
    gpus: int
    """Ranks per node."""
    world_size: int
    zero_stage: int
    precision: Literal["bf16", "fp16", "fp32"]
    compile: Compile = "none"
    """How the operations of a step reach the device."""
    layout: Layout
    steps: Steps
    memory: Memory
    traffic: Traffic
    throughput: Throughput
    sharding: tuple[Way, ...] = ()
    """What each way of sharding would cost; empty on one rank without ZeRO, or where the model's shape is unknown."""
    advice: tuple[str, ...] = ()
    """What to think over before submitting."""
    request: SlurmRequest | None = Field(alias="slurm")
    """What its job asks of a scheduler; None where it has none."""
    notes: tuple[str, ...]
    """What a reader should know: choices made for them, figures that are not known."""
    loss_sha256: str | None = None
    """Hash of the user's own loss, loss.py in the run directory."""
    recipe: Recipe
    cluster: Cluster

    def tree(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        tree: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return tree


@dataclass(frozen=True)
class Identity:
    """What names a run and its surroundings, without being part of what is planned."""

    name: str
    run_id: str
    run_dir: str
    python: str
    git_commit: str | None
    launcher_version: str


def make_plan(
    recipe: Recipe,
    cluster: Cluster,
    machine: Machine,
    identity: Identity,
    shape: ModelShape | None,
    data: DataSize,
    own_loss: str | None = None,
) -> Plan:
    """Resolve a recipe; `plan_conflicts` must have found nothing. `own_loss` is the text of the user's loss."""
    executor = resolve_executor(recipe, machine)
    device = resolve_device(recipe, cluster, machine, executor)
    gpus = resolve_gpus(recipe, cluster, machine, executor, device)
    setup, layout, compiled, why = _resolve(recipe, cluster, shape, gpus, device)
    facts = _speed_facts(recipe, cluster, machine, layout, data, gpus)

    def resolve(changed: Recipe) -> Resolved:
        setup, layout, _, _ = _resolve(changed, cluster, shape, gpus, device)
        planned = Planned(setup, layout.micro_batch_size)
        return Resolved(setup, layout, None if shape is None else step_seconds(shape, facts, planned))

    def planned_as(variant: Variant) -> Planned:
        return _planned(_varied(recipe, variant), cluster, shape, gpus, device)

    shards = setup.world_size > 1 or setup.zero_stage > 0
    found = ways(recipe, shape, resolve) if shape is not None and shards else ()
    throughput = predict(shape, facts, recipe.tuning, planned_as)
    memory = _memory(recipe, cluster, shape, _graphed(setup, layout), layout)
    traffic = _traffic(shape, setup, layout)
    saved = traffic.trainable_parameters, memory.optimizer
    fields: dict[str, Any] = {
        "executor": executor,
        "device": device,
        "strategy": "plain" if setup.zero_stage == 0 else "deepspeed",
        "nodes": recipe.most_nodes,
        "least_nodes": recipe.least_nodes if recipe.least_nodes < recipe.most_nodes else None,
        "gpus": gpus,
        "world_size": setup.world_size,
        "zero_stage": setup.zero_stage,
        "precision": recipe.precision,
        "compile": compiled,
        "layout": layout,
        "steps": _steps(recipe, data),
        "memory": memory,
        "traffic": traffic,
        "throughput": throughput,
        "sharding": found,
        "advice": tuple(advice(recipe, device, setup.world_size, found, memory.capacity)),
        "notes": (
            *notes_of(recipe, cluster, machine, executor, shape, data, setup),
            *([why] if why else []),
            *speed_notes(cluster, device, shape, throughput.examples_per_s),
            *time_notes(recipe, cluster, machine, executor, *saved, setup),
        ),
        "loss_sha256": None if own_loss is None else hashlib.sha256(own_loss.encode()).hexdigest(),
        "recipe": recipe,
        "cluster": cluster,
    }
    request = slurm_request(recipe, cluster, device, gpus) if executor_for(executor).takes_nodes else None
    fields.update(slurm=request)
    return Plan(plan_id=_plan_id(identity.name, fields), **vars(identity), **fields)


def _resolve(
    recipe: Recipe, cluster: Cluster, shape: ModelShape | None, gpus: int, device: Literal["cuda", "cpu"]
) -> tuple[Setup, Layout, Compile, str | None]:
    """How the recipe trains on its nodes, how its batch is laid out, how its operations are launched, and why so."""
    setup = setup_of(recipe, recipe.most_nodes * gpus, device)
    layout = layout_of(recipe, cluster, shape, setup)
    compiled, why = resolve_compile(recipe, place_of(shape, setup))
    return replace(setup, graphed=compiled == "graph"), layout, compiled, why


def _planned(
    recipe: Recipe, cluster: Cluster, shape: ModelShape | None, gpus: int, device: Literal["cuda", "cpu"]
) -> Planned:
    """What of a recipe's plan its speed depends on."""
    setup, layout, _, _ = _resolve(recipe, cluster, shape, gpus, device)
    return Planned(setup, layout.micro_batch_size)


def _varied(recipe: Recipe, variant: Variant) -> Recipe:
    batch = recipe.batch.model_copy(update={"global_": variant.examples})
    return recipe.model_copy(update={"nodes": variant.nodes, "tuning": variant.tuning, "batch": batch})


def step_counts(recipe: Recipe, train_examples: int) -> tuple[int, int, int]:
    """(steps per epoch, steps in all, warm-up steps) for this many training examples."""
    per_epoch = math.ceil(train_examples / recipe.batch.global_)
    total = recipe.train.max_steps or math.ceil(recipe.train.epochs * per_epoch)
    warmup = recipe.train.warmup
    return per_epoch, total, warmup if isinstance(warmup, int) else math.ceil(warmup * total)


def _steps(recipe: Recipe, data: DataSize) -> Steps:
    if data.train_examples is None:
        total = recipe.train.max_steps
        warmup = recipe.train.warmup
        known = warmup if isinstance(warmup, int) else math.ceil(warmup * total) if total else None
        return Steps(train_examples=None, per_epoch=None, total=total, warmup=known)
    per_epoch, total, warmup_steps = step_counts(recipe, data.train_examples)
    return Steps(train_examples=data.train_examples, per_epoch=per_epoch, total=total, warmup=warmup_steps)


def _graphed(setup: Setup, layout: Layout) -> Setup:
    """The set-up with graphs only where a step is a single micro-batch: no others are captured."""
    return replace(setup, graphed=setup.graphed and layout.gradient_accumulation_steps == 1)


def _memory(
    recipe: Recipe, cluster: Cluster, shape: ModelShape | None, setup: Setup, layout: Layout
) -> Memory:
    capacity = int(cluster.gpu_memory_gib * 2**30) if cluster.gpu_memory_gib else None
    if shape is None:
        return Memory(capacity=capacity)
    predicted = estimate_memory(
        shape,
        setup,
        micro_batch_size=layout.micro_batch_size * tasks.of(recipe).sequences_each,
        max_length=layout.max_length,
        max_tokens=layout.max_tokens,
    )
    return Memory(**vars(predicted), total=predicted.total, capacity=capacity)


def _traffic(shape: ModelShape | None, setup: Setup, layout: Layout) -> Traffic:
    if shape is None:
        return Traffic()
    predicted = estimate_traffic(shape, setup, micro_batches=layout.gradient_accumulation_steps)
    return Traffic(
        parameters=predicted.parameters,
        trainable_parameters=predicted.trainable_parameters,
        bytes_per_step=predicted.bytes_per_step,
    )


def _speed_facts(
    recipe: Recipe, cluster: Cluster, machine: Machine, layout: Layout, data: DataSize, gpus: int
) -> Facts:
    elsewhere = executor_for(resolve_executor(recipe, machine)).takes_nodes
    cores = (cluster.cpus_per_task or gpus) if elsewhere else machine.cores
    return Facts(
        examples=layout.global_batch_size,
        max_length=layout.max_length,
        mean_chars=data.mean_chars,
        sequences=tasks.of(recipe).sequences_each,
        shared=tasks.of(recipe).shared(layout.max_length),
        nodes=recipe.most_nodes,
        gpus=gpus,
        gpu_model=cluster.gpu_model,
        cores=cores_of_rank(cores, gpus, None if elsewhere else machine.threads),
        pretrained=recipe.model.init == "pretrained",
        native_bf16=machine.native_bf16 or elsewhere,
        crowded=1.0 if elsewhere else max(1.0, gpus / machine.cores),
        cpu=None if elsewhere else machine.cpu,
        known=machine.known,
    )


def _plan_id(name: str, fields: dict[str, Any]) -> str:
    tree = {
        key: value.model_dump(mode="json", by_alias=True) if isinstance(value, Record) else value
        for key, value in fields.items()
        if key not in ("notes", "throughput", "sharding", "advice", "recipe")
    }
    tree["recipe"] = fields["recipe"].tree(without="identity")
    text = json.dumps({"name": name, **tree}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
