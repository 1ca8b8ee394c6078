"""The section `tracking`: where metrics go besides metrics.jsonl."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator

from launcher.recipe.decides import Decides
from launcher.recipe.fields import Line, Section

LONGEST_NAME, LONGEST_TAG = 128, 64
"""Characters that W&B takes, in names of most kinds, and in a tag or a job type."""
NOT_IN_PROJECT = "/\\#?%:"
"""Characters that wandb's own settings refuse in a project."""
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENTITY = re.compile(r"[A-Za-z0-9._-]+")


def _name(value: str, *, most: int = LONGEST_NAME) -> str:
    if not value.strip() or len(value) > most:
        raise ValueError(f"must have 1 to {most} characters for W&B, and not only blanks")
    return value


def _project(value: str) -> str:
    if found := [character for character in NOT_IN_PROJECT if character in value]:
        raise ValueError(f"must not hold {' '.join(found)}, which W&B takes in no project's name")
    return _name(value)


def _entity(value: str) -> str:
    if not ENTITY.fullmatch(value):
        raise ValueError("must be a user or team of W&B: letters, digits, '-', '_' and '.'")
    return _name(value)


def _tag(value: str) -> str:
    if not value.strip() or len(value) > LONGEST_TAG:
        raise ValueError(f"must be tags of 1 to {LONGEST_TAG} characters for W&B: one has {len(value)}")
    return value


def _id(value: str) -> str:
    if not ID.fullmatch(value):
        raise ValueError("must be an id of W&B: letters, digits, '-' and '_'")
    return value


WandbName = Annotated[Line, AfterValidator(_name)]
Project = Annotated[Line, AfterValidator(_project)]
Entity = Annotated[Line, AfterValidator(_entity)]
JobType = Annotated[Line, AfterValidator(partial(_name, most=LONGEST_TAG))]
Id = Annotated[Line, AfterValidator(_id)]
Tag = Annotated[Line, AfterValidator(_tag)]


class Wandb(Section):
    """Weights & Biases."""

    decides = Decides("tracking")

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online if there is a key and the server answers, otherwise offline."""
    project: Project = "launcher"
    """Project that the run appears in."""
    entity: Entity | None = None
    """User or team; null means the account's default."""
    name: WandbName | None = None
    """Display name; null means the run id."""
    group: WandbName | None = None
    """Group that the run belongs to; null means its sweep, or the recipe's name."""
    job_type: JobType = "train"
    """Job type shown beside the run."""
    tags: tuple[Tag, ...] = ()
    """Tags of the run."""
    notes: str | None = None
    """A longer note, shown on the run's page."""
    alerts: bool = False
    """Whether W&B notifies you, as you set there, when the run fails, diverges or completes."""
    upload: tuple[Literal["mistakes", "model"], ...] = ()
    """What else to upload: mistakes, the worst ones with their texts; model, the best model as an artifact."""
    sweep: Id | None = None
    """W&B sweep that the run belongs to; `wandb agent` sets it."""


class Tracking(Section):
    """Where metrics go besides metrics.jsonl."""

    wandb: Wandb = Wandb.default()
    """Weights & Biases."""
