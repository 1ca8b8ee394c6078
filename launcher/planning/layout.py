"""How a model is trained on its ranks, and how a global batch is spread over them and over time. Pure."""

from __future__ import annotations

import math
from typing import Literal

from launcher import tasks
from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import Setup, largest_micro_batch
from launcher.recipe.cluster import Cluster
from launcher.recipe.conflicts import highest_stages
from launcher.recipe.fields import Record
from launcher.recipe.recipe import LONGEST, Recipe

CPU_TOKENS = 4096
"""Most tokens in a micro-batch on CPU unless the recipe says: more only needs more memory."""


class Layout(Record):
    """How one global batch is spread over ranks and time."""

    global_batch_size: int
    """Examples in an optimizer step."""
    examples_per_rank: int
    """Most examples that one rank computes in a step."""
    micro_batch_size: int
    """Most examples in a micro-batch."""
    max_tokens: int | None
    """Most tokens in a micro-batch, padding included."""
    gradient_accumulation_steps: int
    """Micro-batches of a rank in a full step, before any limit on tokens or split by length."""
    max_length: int
    """Longest sequence in tokens."""


def setup_of(recipe: Recipe, world_size: int, device: Literal["cuda", "cpu"]) -> Setup:
    """What of a recipe memory, traffic and time depend on."""
    stage = recipe.zero.stage
    if stage is None:
        alone = world_size == 1 and recipe.zero.offload == "none"
        wanted = 3 if recipe.zero.offload == "nvme" else 2
        stage = 0 if alone else min([wanted, *highest_stages(recipe).values()])
    dropout = recipe.model.dropout
    return Setup(
        tuning=recipe.tuning,
        lora_r=recipe.lora.r,
        lora_targets=recipe.lora.targets,
        world_size=world_size,
        zero_stage=stage,
        offload=recipe.zero.offload,
        precision=recipe.precision,
        optimizer=recipe.train.optimizer,
        momentum=recipe.train.momentum > 0,
        dora=recipe.lora.dora,
        train_embeddings=recipe.lora.train_embeddings,
        frozen_embeddings=recipe.model.freeze.embeddings,
        frozen_layers=recipe.model.freeze.layers,
        averaged=recipe.train.ema is not None,
        passes=2 if recipe.train.r_drop else 1,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        device=device,
        attention="flash" if device == "cuda" else "eager",
        dropout=dropout.hidden != 0 or dropout.attention != 0,
        guessed=tasks.of(recipe).guessed,
    )


def layout_of(recipe: Recipe, cluster: Cluster, shape: ModelShape | None, setup: Setup) -> Layout:
    """The most examples and tokens of a micro-batch that fit, and how many of them make a step."""
    per_rank, sequences = math.ceil(recipe.batch.global_ / setup.world_size), tasks.of(recipe).sequences_each
    max_length = resolve_max_length(recipe, shape)
    max_tokens = _max_tokens(recipe, cluster, shape, setup, max_length)
    micro = per_rank
    if recipe.batch.micro is not None:
        micro = min(per_rank, recipe.batch.micro)
    elif setup.device == "cuda" and shape is not None and cluster.gpu_memory_gib is not None:
        capacity = int(cluster.gpu_memory_gib * 2**30)
        fits = largest_micro_batch(
            shape,
            setup,
            capacity=capacity,
            max_length=max_length,
            cap=per_rank * sequences,
            max_tokens=max_tokens,
        )
        micro = max(1, fits // sequences)
    return Layout(
        global_batch_size=recipe.batch.global_,
        examples_per_rank=per_rank,
        micro_batch_size=micro,
        max_tokens=max_tokens,
        gradient_accumulation_steps=math.ceil(per_rank / micro),
        max_length=max_length,
    )


def _max_tokens(
    recipe: Recipe, cluster: Cluster, shape: ModelShape | None, setup: Setup, max_length: int
) -> int | None:
    """As asked; on a CPU what is fastest; for `auto` on a GPU what fits, which the node corrects by a trial."""
    if isinstance(recipe.batch.tokens, int):
        return recipe.batch.tokens
    if setup.device == "cpu":
        return CPU_TOKENS
    if recipe.batch.tokens is None or shape is None or cluster.gpu_memory_gib is None:
        return None
    examples = largest_micro_batch(
        shape,
        setup,
        capacity=int(cluster.gpu_memory_gib * 2**30),
        max_length=max_length,
        cap=recipe.batch.global_ * tasks.of(recipe).sequences_each,
    )
    return max(1, examples) * max_length


def resolve_max_length(recipe: Recipe, shape: ModelShape | None) -> int:
    """Longest sequence in tokens: as asked, or what the model holds and its tokenizer says, 512 at most."""
    if recipe.data.max_length is not None:
        return recipe.data.max_length
    return min(LONGEST, shape.max_length, shape.text_length or LONGEST) if shape else LONGEST
