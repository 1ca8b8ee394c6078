"""The section `checkpoint`: resumable state."""

from __future__ import annotations

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Every, Section


class Checkpoint(Section):
    """Resumable state."""

    decides = Decides("execution")

    every: Every | None = "epoch"
    """Steps between checkpoints, or `epoch`; null saves only when stopped and at the end."""
    keep: Count = 2
    """How many of the newest checkpoints stay on disk."""
