"""What an evaluation of the best model found beyond its metrics: classes, confusions, calibration, mistakes.

`evaluated/SPLIT.json` in a run directory, mode 0600: written when a model becomes the best, and for the test data at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from launcher.figures import human_number
from launcher.runs.records import Extensible
from launcher.runs.results import Metrics

FILE = "examination.json"
"""What `launch eval --output` calls it."""
MOST_CLASSES = 100
"""Classes of a confusion matrix that is kept with a run."""
MOST_MISTAKES = 50
MOST_LETTERS = 600
"""Of each text of a mistake."""


@dataclass(frozen=True)
class ClassFigures:
    """One class, label or type of entity."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """How many there are."""
    predicted: int
    """How many were predicted."""


@dataclass(frozen=True)
class Confusion:
    """How many of each class (row) were taken for each class (column)."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    of: str
    """What is counted: `examples` or `words`."""


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same confidence."""

    confidence: float
    """Their mean."""
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities are to be believed."""

    error: float
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by their size."""
    bins: tuple[Bin, ...]
    of: str

    @property
    def axes(self) -> tuple[str, str]:
        """What a bin's two figures are called: a label has a probability, and holds or doesn't."""
        return ("probability", "share that holds") if self.of == "labels" else ("confidence", "accuracy")


@dataclass(frozen=True)
class Mistake:
    """A prediction that is wrong, or far off."""

    text: tuple[str, ...]
    """As the model read it: words that it doesn't know and what was cut off are not there."""
    expected: str
    predicted: str
    confidence: float | None = None


@dataclass(frozen=True)
class Interval:
    """Where a metric lies."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{human_number(self.low)} to {human_number(self.high)}"


@dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals over draws of the examples with replacement (Efron, 1979)."""

    level: float
    draws: int
    seed: int
    units: int
    of: str
    """What is drawn: `examples`, or `queries`."""
    intervals: Mapping[str, Interval | None]
    """By metric; None where it was no number in most draws."""

    @property
    def method(self) -> str:
        """In a line."""
        return (
            f"percentile bootstrap over {self.units:,} {self.of}, {self.draws:,} draws, "
            f"{self.level:.0%}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Examination(Extensible):
    """evaluated/SPLIT.json."""

    split: str
    examples: int
    metrics: Metrics
    step: int | None = None
    """After which the model was taken."""
    classes: tuple[ClassFigures, ...] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    mistakes: tuple[Mistake, ...] = ()
    """The worst first."""
    wrong: int | None = None
    """How many examples were predicted wrongly; None where nothing is right or wrong."""
    bootstrap: Bootstrap | None = None

    def bounded(self) -> Examination:
        """What a run directory keeps of it."""
        confusion, classes = self.confusion, self.classes
        if confusion is not None and len(confusion.names) > MOST_CLASSES:
            confusion = None
        ranked = sorted(range(len(classes)), key=lambda place: -classes[place].support)[:MOST_CLASSES]
        kept = tuple(classes[place] for place in sorted(ranked))
        return replace(self, confusion=confusion, classes=kept, mistakes=self.mistakes[:MOST_MISTAKES])
