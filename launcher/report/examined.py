"""What a page shows of an evaluation: metrics with intervals, classes, confusions, calibration, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.figures import human_count, human_number
from launcher.report.figures_svg import confusion_svg, reliability_svg
from launcher.runs.examination import Examination, Mistake

ALIKE = 0.02
"""Difference of confidence and accuracy up to which a model is as sure as it is right."""
MOST_SHOWN = 20
"""Mistakes on the page."""


@dataclass(frozen=True)
class Examined:
    """One split."""

    record: Examination

    @property
    def title(self) -> str:
        """Which data, how many, of which model."""
        step = "" if self.record.step is None else f", step {self.record.step:,}"
        return f"{self.record.split} data ({self.record.examples:,} examples{step})"

    @property
    def metrics(self) -> Sequence[tuple[str, str, str]]:
        """Name, value and interval of each metric that there is."""
        found = self.record.bootstrap
        intervals = {} if found is None else found.intervals
        rows = []
        for name, value in self.record.metrics.items():
            if value is None:
                continue
            rows.append((name, human_number(value), str(intervals.get(name) or "")))
        return rows

    @property
    def method(self) -> str:
        """How the intervals were found, or what finds them."""
        found = self.record.bootstrap
        return "" if found is None else f"Intervals: {found.method}."

    @property
    def classes(self) -> Sequence[Sequence[str]]:
        """The cells of each class, the rarest last."""
        ordered = sorted(self.record.classes, key=lambda each: -each.support)
        return [
            (
                each.name,
                *map(human_number, (each.precision, each.recall, each.f1)),
                human_count(each.support),
                human_count(each.predicted),
            )
            for each in ordered
        ]

    @property
    def confusion(self) -> str:
        """The matrix as svg, empty where there is none."""
        found = self.record.confusion
        return "" if found is None else confusion_svg(found, f"Confusion matrix, {found.of}")

    @property
    def calibration(self) -> str:
        """The reliability diagram as svg, empty where there is none."""
        found = self.record.calibration
        return "" if found is None else reliability_svg(found, f"Calibration error {found.error:.3f}")

    @property
    def calibration_note(self) -> str:
        """What the diagram shows, in words."""
        found = self.record.calibration
        if found is None:
            return ""
        total = sum(each.count for each in found.bins)
        sure = sum(each.count * each.confidence for each in found.bins) / total
        right = sum(each.count * each.accuracy for each in found.bins) / total
        if found.of == "labels":
            said = f"Over {total:,} labels the mean probability is {sure:.1%}, and {right:.1%} hold."
            shown = "how many of the labels with about this probability hold"
        else:
            how = _how_sure(sure, right)
            said = f"Over {total:,} {found.of} the model is {sure:.1%} confident on average and {right:.1%} right: {how}."
            shown = "accuracy at that confidence"
        return f"{said} Dots and bars show {shown}, paler where they are few; expected calibration error {found.error:.4f}."

    @property
    def mistakes(self) -> Sequence[Mistake]:
        """The worst first."""
        return self.record.mistakes[:MOST_SHOWN]

    @property
    def has_confidence(self) -> bool:
        """Whether it is known how sure the model was of them."""
        return any(each.confidence is not None for each in self.mistakes)

    @property
    def mistakes_note(self) -> str:
        """How many there are in all."""
        shown, wrong = len(self.mistakes), self.record.wrong
        if wrong is None:
            return f"The {shown} predictions that are farthest off, as the model read the texts."
        what = f"{wrong:,} of {self.record.examples:,} predictions are wrong"
        which = f"; here are the worst {shown}" if shown < wrong else ""
        return f"{what}{which}. Texts are as the model read them."


def _how_sure(sure: float, right: float) -> str:
    if abs(sure - right) <= ALIKE:
        return "about as confident as it should be"
    return "overconfident" if sure > right else "underconfident"
