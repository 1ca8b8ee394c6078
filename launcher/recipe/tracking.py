"""The section `tracking`: where metrics go besides metrics.jsonl."""

from __future__ import annotations

from typing import Literal

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Line, Section


class Wandb(Section):
    """Weights & Biases."""

    decides = Decides("tracking")

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online where there is a key and the server answers, otherwise offline."""
    project: Line = "launcher"
    """Project that the run appears in."""
    entity: Line | None = None
    """User or team; null means the account's default."""
    name: Line | None = None
    """Display name; null means the run id."""
    group: Line | None = None
    """Group that the run belongs to; null means the recipe's name."""
    job_type: Line = "train"
    """Job type shown beside the run."""
    tags: tuple[Line, ...] = ()
    """Tags of the run."""
    notes: str | None = None
    """A longer note, shown on the run's page."""


class Tracking(Section):
    """Where metrics go besides metrics.jsonl."""

    wandb: Wandb = Wandb()
    """Weights & Biases."""
