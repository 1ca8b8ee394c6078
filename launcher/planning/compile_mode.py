"""How the operations of a training step reach a GPU: one by one, as one CUDA graph, or compiled. Pure, as the plan is.

A step on a few short texts is a millisecond or two of arithmetic and two thousand launches of kernels, which take ten times
as long. A graph launches them all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from launcher import tasks
from launcher.errors import Conflict
from launcher.families.shared.base import Family
from launcher.recipe.optimizers import OPTIMIZERS
from launcher.recipe.recipe import Recipe

Compile = Literal["none", "graph", "inductor"]


@dataclass(frozen=True)
class ComputedOn:
    """Where a recipe trains, as far as it matters here."""

    device: Literal["cuda", "cpu"]
    world_size: int
    zero_stage: int
    family: Family | None
    """Model family; None where it isn't known."""


def resolve_compile(recipe: Recipe, place: ComputedOn) -> tuple[Compile, str | None]:
    """What `train.compile` comes to, and a sentence where it is not a CUDA graph though there is a GPU."""
    wanted = recipe.train.compile
    if wanted != "auto":
        return wanted, None
    if place.device == "cpu":
        return "none", None
    obstacle = graph_obstacle(recipe, place)
    if obstacle is None:
        return "graph", None
    other = inductor_obstacle(recipe, place)
    if other is None:
        return "inductor", f"no CUDA graphs, since {obstacle}: torch.compile fuses what it can"
    return "none", f"neither CUDA graphs, since {obstacle}, nor torch.compile, since {other}"


def graph_obstacle(recipe: Recipe, place: ComputedOn) -> str | None:
    """Why the steps of this training can't be CUDA graphs, None where they can."""
    train, name = recipe.train, place.family and place.family.name
    used = {
        "there is no GPU": place.device == "cpu",
        "DeepSpeed's steps can't be captured": place.zero_stage > 0,
        "sums over several processes can't be captured": place.world_size > 1,
        f"precision={recipe.precision} has no attention kernel of fixed shape": recipe.precision != "bf16",
        f"task={recipe.task} has heads of changing shape": not tasks.of(recipe).fixed_shape,
        "data.windows pools changing numbers of windows": recipe.data.windows is not None,
        f"a {name} encoder has no kernel of fixed shape": place.family is not None and not place.family.can_capture,
        f"train.optimizer={train.optimizer} looks at the host": not OPTIMIZERS[train.optimizer].captured,
        "train.r_drop takes two passes": train.r_drop > 0,
        "train.fgm takes two passes": train.fgm > 0,
        "train.ema changes its decay as it goes": train.ema is not None,
        "train.unfreeze_every changes what is trained": train.unfreeze_every is not None,
        "a loss of your own may look at the host": train.loss.name == "custom",
        "distill.teacher takes a pass of its own": recipe.distill.teacher is not None,
        "model.gradient_checkpointing looks at the host": recipe.model.gradient_checkpointing,
    }  # fmt: skip
    return next((obstacle for obstacle, there in used.items() if there), None)


def inductor_obstacle(recipe: Recipe, place: ComputedOn) -> str | None:
    """Why torch.compile can't be used, None where it can."""
    if place.zero_stage == 3:
        return "ZeRO-3 gathers parameters in between"
    if recipe.model.gradient_checkpointing:
        return "model.gradient_checkpointing must compute the same again"
    return None


def compile_conflicts(recipe: Recipe, place: ComputedOn) -> Iterator[Conflict]:
    """What the recipe asks for by name and can't have."""
    wanted = recipe.train.compile
    obstacle = None
    if wanted == "graph":
        obstacle = graph_obstacle(recipe, place)
    elif wanted == "inductor":
        obstacle = inductor_obstacle(recipe, place)
    if obstacle is not None:
        yield Conflict(
            ("train.compile",), f"can't be had: {obstacle}", "train.compile=auto takes what can be had"
        )
