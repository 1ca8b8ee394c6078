"""What each way of sharding costs, side by side, and what to do where a recipe pays for more than it needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from launcher import tasks
from launcher.families.shared.base import ModelShape
from launcher.figures import human_bytes, quantity
from launcher.planning.estimate import Setup, estimate_memory, estimate_traffic
from launcher.planning.layout import Layout
from launcher.recipe.conflicts import conflicts
from launcher.recipe.fields import Record
from launcher.recipe.optimizers import OPTIMIZERS
from launcher.recipe.recipe import Recipe

Offload = Literal["none", "cpu", "nvme"]

COMPARED: tuple[tuple[int, Offload], ...] = ((0, "none"), (1, "none"), (2, "none"), (3, "none"), (3, "cpu"))
ROOMY = 0.8
"""Share of a GPU's memory up to which a prediction is sure enough to fit."""
SMALL_GPU = 16 * 2**30
"""Memory of the smallest GPUs that training is done on, taken where the profile names none."""
FEW_EXAMPLES = 8
"""With fewer examples than this a rank's step takes hardly less time: a GPU waits for launches, not for arithmetic."""
ASYNC_IO_REMEDY = (
    "install libaio with its headers and a C compiler (libaio-dev on Debian and Ubuntu, libaio-devel on Fedora and RHEL), "
    "say where they are in CPATH and LIBRARY_PATH, or use zero.offload=cpu"
)
"""What helps where DeepSpeed can't read and write a disk by itself, as zero.offload=nvme needs."""
RULES = {
    "linear": "in proportion, the rule for SGD (Goyal et al. 2017)",
    "root": "by the square root, the rule for optimizers of Adam's kind (Malladi et al. 2022)",
}


class Way(Record):
    """One way of sharding the same recipe over the same ranks."""

    zero_stage: int
    """0 is plain PyTorch."""
    offload: Offload
    planned: bool
    """Whether it is the plan's own."""
    micro_batch_size: int
    memory: int
    """Predicted bytes of a rank's device at the peak."""
    host: int
    """Predicted bytes of main memory for what is offloaded."""
    bytes_per_step: int
    """Sent by a rank in a step."""
    step_s: float | None
    """Predicted seconds of a step; None where nothing is known of the device or of the length of texts."""


class Resolved(NamedTuple):
    """How a recipe would be trained."""

    setup: Setup
    layout: Layout
    step_s: float | None


def ways(recipe: Recipe, shape: ModelShape, resolve: Callable[[Recipe], Resolved]) -> tuple[Way, ...]:
    """Plain PyTorch, ZeRO 1 to 3 and offloading, as far as the recipe allows them, and what is planned."""
    planned = resolve(recipe).setup
    own = (planned.zero_stage, planned.offload if planned.zero_stage else "none")
    return tuple(
        _way(recipe, shape, resolve(changed), planned=(stage, offload) == own)
        for stage, offload in sorted({*COMPARED, own}, key=lambda way: (way[0], way[1] != "none", way[1]))
        if (changed := _sharded(recipe, stage, offload)) is not None
    )


def advice(
    recipe: Recipe, device: str, world_size: int, found: Sequence[Way], capacity: int | None
) -> Iterator[str]:
    """What a reader should think over before submitting; `capacity` is the GPU's memory in bytes, where it is known."""
    if (sentence := _unneeded(found, capacity)) is not None:
        yield sentence
    few = FEW_EXAMPLES if device == "cuda" else 1
    if world_size > 1 and math.ceil(recipe.batch.global_ / world_size) < few:
        yield _too_few(recipe, world_size, few)


def _sharded(recipe: Recipe, stage: int, offload: Offload) -> Recipe | None:
    """The recipe sharded in another way; None where that contradicts something else in it."""
    zero = recipe.zero.model_copy(update={"stage": stage, "offload": offload})
    changed = recipe.model_copy(update={"zero": zero})
    against = (
        conflict for conflict in conflicts(changed) if any(key.startswith("zero.") for key in conflict.fields)
    )
    return None if any(against) else changed


def _way(recipe: Recipe, shape: ModelShape, resolved: Resolved, *, planned: bool) -> Way:
    setup, layout = resolved.setup, resolved.layout
    memory = estimate_memory(
        shape,
        setup,
        micro_batch_size=layout.micro_batch_size * tasks.of(recipe).sequences_each,
        max_length=layout.max_length,
        max_tokens=layout.max_tokens,
    )
    traffic = estimate_traffic(shape, setup, micro_batches=layout.gradient_accumulation_steps)
    return Way(
        zero_stage=setup.zero_stage,
        offload=setup.offload,
        planned=planned,
        micro_batch_size=layout.micro_batch_size,
        memory=memory.total,
        host=memory.host,
        bytes_per_step=traffic.bytes_per_step,
        step_s=resolved.step_s,
    )


def _unneeded(found: Sequence[Way], capacity: int | None) -> str | None:
    """Said where plain PyTorch would do, with what sharding costs there."""
    plain = next((way for way in found if way.zero_stage == 0), None)
    planned = next((way for way in found if way.planned), None)
    if plain is None or planned is None or planned is plain or plain.memory > ROOMY * (capacity or SMALL_GPU):
        return None
    costs = []
    if planned.bytes_per_step > 1.05 * plain.bytes_per_step:
        more = planned.bytes_per_step / plain.bytes_per_step
        costs.append(
            f"sends {_times(more)} as much" if plain.bytes_per_step else "sends what need not be sent"
        )
    if planned.step_s is not None and plain.step_s is not None and planned.step_s > 1.05 * plain.step_s:
        costs.append(f"takes {_times(planned.step_s / plain.step_s)} as long a step (predicted)")
    also = f", and {' and '.join(costs)}" if costs else ""
    whose = (
        f"of {human_bytes(capacity)}"
        if capacity
        else f"of a GPU, and the smallest have {human_bytes(SMALL_GPU)}"
    )
    return (
        f"ZeRO-{planned.zero_stage} saves memory that isn't short here{also}: "
        f"zero.stage=0, plain PyTorch, needs {human_bytes(plain.memory)} {whose}"
    )


def _times(ratio: float) -> str:
    return f"{float(f'{ratio:.2g}'):g} times"


def _too_few(recipe: Recipe, world_size: int, few: int) -> str:
    """Said where ranks have hardly anything to compute: the batch that would pay, with its learning rate, or fewer ranks."""
    now = recipe.batch.global_
    larger, enough = few * world_size, max(1, now // few)
    rule = OPTIMIZERS[recipe.train.optimizer].rate_rule
    factor = larger / now if rule == "linear" else math.sqrt(larger / now)
    each = f"{math.ceil(now / world_size)} of its examples"
    return (
        f"batch.global={now} leaves a rank {each} or fewer, which {world_size} ranks don't pay for: "
        f"set batch.global={larger} with train.lr={recipe.train.lr * factor:.3g} (raised {RULES[rule]}), "
        f"or use {quantity(enough, 'rank')}, which {'takes' if enough == 1 else 'take'} about as long"
    )
