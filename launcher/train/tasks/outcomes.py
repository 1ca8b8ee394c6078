"""What the predictions of a split are beside the truth, in one form for every task that can tell right from wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.runs.examination import Bin, Calibration, ClassFigures, Confusion
from launcher.train.tasks.confusion import Counts, confusion_matrix

BINS = 10
MOST_CONFUSED = 1000
"""Classes of a confusion matrix: a million counts."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Certainty:
    """How sure a model was of what it predicted, and whether it was right: two arrays of the same length."""

    confidence: Array
    right: Array
    of: str = "examples"


@dataclass(frozen=True)
class Outcomes:
    """Predictions beside the truth; n examples."""

    badness: Array
    """(n,) 0 where an example was predicted rightly; the larger, the worse."""
    expected: Sequence[str]
    """n texts for a reader."""
    predicted: Sequence[str]
    confidence: Array | None = None
    """(n,) probability of what was predicted."""
    is_exact: bool = True
    """Whether a prediction is right or wrong; numbers are only near or far."""
    classes: tuple[ClassFigures, ...] = ()
    confusion: Confusion | None = None
    certainty: Certainty | None = None

    def calibration(self) -> Calibration | None:
        """Confidence and accuracy in bins of equal width (Guo et al., 2017)."""
        if self.certainty is None or not len(self.certainty.confidence):
            return None
        confidence, right = self.certainty.confidence, self.certainty.right
        place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        bins = [
            Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
            for inside in (place == index for index in range(BINS))
            if inside.any()
        ]
        error = sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(confidence)
        return Calibration(float(error), tuple(bins), self.certainty.of)


def correlations(predicted: Array, truth: Array) -> dict[str, float]:
    """Pearson's and Spearman's correlation of numbers (n,); NaN where n is 1, or all of one side are the same."""
    from scipy import stats

    if len(truth) < 2:
        return {"pearson": float("nan"), "spearman": float("nan")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        pearson, spearman = stats.pearsonr(predicted, truth), stats.spearmanr(predicted, truth)
    return {"pearson": float(pearson.statistic), "spearman": float(spearman.statistic)}


def of_classes(counts: Counts, names: Sequence[str]) -> tuple[ClassFigures, ...]:
    """The figures of each class."""
    sides = (counts.right.tolist(), counts.true.tolist(), counts.predicted.tolist())
    return tuple(map(figures, names, *sides))


def figures(name: str, right: int, support: int, predicted: int) -> ClassFigures:
    """Precision, recall and F1 from counts, 0 where there is nothing to divide by."""
    precision, recall = right / max(predicted, 1), right / max(support, 1)
    return ClassFigures(name, precision, recall, 2 * right / max(predicted + support, 1), support, predicted)


def confusion_of(
    truth: Array, predicted: Array, names: Sequence[str], of: str = "examples"
) -> Confusion | None:
    """The record of a confusion matrix; None of so many classes that nobody could look at it."""
    if len(names) > MOST_CONFUSED:
        return None
    matrix = confusion_matrix(truth, predicted, len(names))
    return Confusion(tuple(names), tuple(map(tuple, matrix.tolist())), of)


def one_of_several(truth: Array, confidence: Array, predicted: Array, names: Sequence[str]) -> Outcomes:
    """The outcomes where each example has one class: numbers (n,), and the probability (n,) of what was predicted."""
    truth = truth.astype(np.int64)
    right = predicted == truth
    return Outcomes(
        badness=np.where(right, 0.0, confidence),
        expected=[names[number] for number in truth],
        predicted=[names[number] for number in predicted],
        confidence=confidence,
        classes=of_classes(Counts.of(truth, predicted, len(names)), names),
        confusion=confusion_of(truth, predicted, names),
        certainty=Certainty(confidence, right),
    )


def far_off(predicted: Array, truth: Array) -> Outcomes:
    """The outcomes of numbers (n,): the farther from the truth, the worse."""
    return Outcomes(
        badness=np.abs(predicted - truth),
        expected=[f"{value:.4g}" for value in truth],
        predicted=[f"{value:.4g}" for value in predicted],
        is_exact=False,
    )
