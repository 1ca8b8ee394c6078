"""What is doubtful about rows although they fit the task, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Finding(NamedTuple):
    """Something doubtful in one row."""

    kind: str
    """A key of the task's `kinds`, or one that is counted and never told."""
    text: str
    """What stands there."""
    offset: int = 0
    """Words before the one in question; in CoNLL columns that many lines below the row's first."""


@dataclass(frozen=True)
class Seen:
    """How often a class or tag stands in the training data."""

    count: int
    place: str | None
    """Where it stands first, where that is known."""


class Doubt(NamedTuple):
    """What is said of the classes of the training data although they can be learnt."""

    message: str
    remedy: str


@dataclass(frozen=True)
class Kind:
    """What is said of rows where something was found."""

    what: str
    remedy: str
    always: bool = False
    """Whether a single one is worth a warning."""
    in_rows: bool = True
    """Whether rows are counted, or what `what` begins with."""
    harmless: bool = False
    """Whether it is a note however often it is found."""
    before_launch: str | None = None
    """What is done about it, said with the plan; None says nothing there."""
