"""The section `batch`: how many examples make a step, and how much of it is computed at a time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Section


class Batch(Section):
    """How many examples make one optimizer step, and how many are computed at a time."""

    global_: Annotated[Count, Decides("training")] = Field(32, alias="global")
    """Examples in one optimizer step over all ranks together: the same on any machine."""
    micro: Annotated[Count | None, Decides("execution")] = None
    """Most examples in a micro-batch; null lets the plan choose by memory."""
    tokens: Annotated[Count | Literal["auto"] | None, Decides("execution")] = None
    """Most tokens in a micro-batch, padding included; auto fills the GPU's memory; null sets no limit (4,096 on a CPU)."""
