"""What a drill found: the record of drill.json."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.figures import quantity
from launcher.runs.records import Extensible


@dataclass(frozen=True)
class Sameness:
    """One kind of thing that was compared."""

    what: str
    same: int
    count: int
    difference: str | None = None
    """The first that differs, in words."""

    @property
    def passed(self) -> bool:
        """Whether there was something, and all of it was the same."""
        return self.count > 0 and self.same == self.count


@dataclass(frozen=True)
class StepDifference:
    """The first optimizer step whose loss differs."""

    step: int
    expected: float | None
    found: float | None
    attempt: int | None = None
    """The attempt that came to the other loss, where that is known."""

    def __str__(self) -> str:
        return f"step {self.step}: {self.expected} and {self.found}"


@dataclass(frozen=True)
class TensorDifference:
    """The first tensor whose bits differ."""

    file: str
    """In the run directory."""
    tensor: str
    elements: int
    """How many of its elements differ, and at which the first does; None where shapes or types differ."""
    at: int | None = None
    expected: float | None = None
    found: float | None = None
    largest: float | None = None
    """The largest difference."""
    message: str | None = None
    """Where there is more to say than numbers."""

    def __str__(self) -> str:
        if self.message is not None:
            return f"{self.tensor} in {self.file}: {self.message}"
        return (
            f"{self.tensor} in {self.file}: {quantity(self.elements, 'element')}, the first at "
            f"{self.at}: {self.expected} and {self.found}"
        )


@dataclass(frozen=True)
class Interruption:
    """An interrupted run beside one that nobody touched."""

    way: str
    """The fault: `stop`, `kill`, ..."""
    run_id: str
    injected: str
    """What was done."""
    interrupted_at: int
    """Steps that were done when it ended."""
    resumed_from: int
    """Steps that the checkpoint had from which it went on."""
    steps_lost: int
    """Steps that were done again."""
    seconds_to_next_step: float | None
    """From the fault to the first step that had not been done before; on a cluster its own delay is in it."""
    passed: bool
    findings: tuple[Sameness, ...]
    error: str | None = None
    """The class of the error that the run recorded for the fault."""
    planted: str | None = None
    """What was changed on purpose before it went on."""
    first_step: StepDifference | None = None
    first_tensor: TensorDifference | None = None
    largest_difference: float | None = None
    """The largest difference between losses, where they are not expected to be the same to the last bit."""


@dataclass(frozen=True)
class Drill(Extensible):
    """drill.json."""

    passed: bool
    recipe: str
    executor: str
    world_size: int
    strategy: str
    steps: int
    reference: str
    """The run that nobody touched."""
    runs: tuple[Interruption, ...]
    launcher: str
    began_at: float
    """Unix seconds."""
    seconds: float
    words: tuple[str, ...] = ()
    """The command line."""
