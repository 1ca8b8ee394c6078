"""How a run ended: the record of result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.runs.records import Extensible, named, tree_of
from launcher.visible import shortened, visible

Outcome = Literal["completed", "stopped", "failed", "cancelled"]
Metrics = Mapping[str, float | None]
LONGEST_CAUSE = 400
"""Characters of a message that a sentence on a failure has."""


@dataclass(frozen=True)
class Best:
    """The evaluation whose model is kept."""

    metric: str
    value: float | None
    step: int


@dataclass(frozen=True)
class Error(Extensible):
    """Why a run failed."""

    kind: str = named("class")
    """One of `failure_classes.ANSWERS`, or `scheduler`."""
    message: str = ""
    remedy: str | None = None
    rank: int | None = None
    host: str | None = None
    step: int | None = None

    @property
    def place(self) -> str:
        """Where it failed, as far as that is known: `rank 3, host n2, step 40`."""
        places = {"rank": self.rank, "host": self.host, "step": self.step}
        return ", ".join(f"{name} {value}" for name, value in places.items() if value is not None)

    @property
    def headline(self) -> str:
        """Class and place."""
        return f"{self.kind}, {self.place}" if self.place else self.kind

    def sentence(self) -> str:
        """Class, place, cause and remedy on one line, without any character that a terminal would obey."""
        where = {"rank": self.rank, "on": self.host, "step": self.step}
        place = " ".join(f"{key} {value}" for key, value in where.items() if value is not None)
        cause = visible(" ".join(self.message.split()))
        told = f"{self.kind}{f' ({place})' if place else ''}: {shortened(cause, LONGEST_CAUSE)}"
        return f"{told} -> {self.remedy}" if self.remedy else told


@dataclass(frozen=True)
class Predicted(Extensible):
    """The plan's figures: bytes of a rank, seconds of a step."""

    total: int | None = None
    step_s: float | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None


@dataclass(frozen=True)
class Measured(Extensible):
    """Figures beside the plan's, under its names: bytes of the fullest rank, seconds of a median step."""

    total: int | None = None
    step_s: float | None = None
    waited: float | None = None
    """Share of the time that the threads of a rank were ready to run and other work held the cores, at most."""
    parameters: int | None = None
    trainable_parameters: int | None = None


@dataclass(frozen=True)
class Compressed:
    """A model before or after it was compressed."""

    parameters: int
    nonzero: int
    bytes: int
    latency_ms: float
    metrics: Metrics


@dataclass(frozen=True)
class Compression:
    """What compressing changed."""

    before: Compressed
    after: Compressed
    before_recovery: Metrics | None = None


@dataclass(frozen=True)
class Tracking:
    """Where the run was tracked."""

    url: str | None = None


@dataclass(frozen=True)
class Latency(Extensible):
    """latency.json: how long the best model takes for one text."""

    machine: str
    ms: float


@dataclass(frozen=True)
class Result(Extensible):
    """result.json; what is not known is null."""

    status: Outcome
    run_id: str | None = None
    best: Best | None = None
    test: Metrics | None = None
    extra: Mapping[str, Mapping[str, float | str | None]] | None = None
    """Metrics of each file of eval.extra, or `error`."""
    compression: Compression | None = None
    steps: int | None = None
    total_steps: int | None = None
    """Steps that there were to do, of which early stopping leaves some."""
    epochs: float | None = None
    skipped_steps: int | None = None
    left_out: tuple[int, ...] | None = None
    """Steps left out by train.on_nan=skip."""
    rolled_back: tuple[tuple[int, ...], ...] | None = None
    """First and last step of each window undone by train.on_nan=rollback."""
    wall_s: float | None = None
    attempts: int | None = None
    micro_batch_size: int | None = None
    predicted: Predicted | None = None
    measured: Measured | None = None
    tracking: Tracking | None = None
    error: Error | None = None
    job_id: str | None = None

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return tree_of(self)
