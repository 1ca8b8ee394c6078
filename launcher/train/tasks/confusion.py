"""Metrics of classes from counts alone: importing scikit-learn takes longer than evaluating a small model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Counts:
    """How often each class is right, true and predicted: three (n,), since n squared is too many of many classes."""

    right: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Classes, predicted: Classes, classes: int) -> Counts:
        """Of examples (m,)."""
        sides = (truth[truth == predicted], truth, predicted)
        return cls(*(np.bincount(side.astype(np.int64), minlength=classes) for side in sides))


def confusion_matrix(truth: Classes, predicted: Classes, classes: int) -> NDArray[np.int64]:
    """(n, n) examples of each true class (row) that were taken for each class (column)."""
    pairs = truth.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def accuracy(counts: Counts) -> float:
    """Share of examples that are right; for one label an example also the micro-averaged F1."""
    return float(counts.right.sum() / counts.true.sum())


def f1_by_class(counts: Counts) -> NDArray[np.float64]:
    """(n,) harmonic mean of precision and recall, 0 for a class that was never predicted rightly."""
    shares: NDArray[np.float64] = 2 * counts.right / np.maximum(counts.predicted + counts.true, 1)
    return shares


def macro_f1(counts: Counts) -> float:
    """Mean F1 over the classes that occur, in the truth or among the predictions."""
    occurs = counts.predicted + counts.true > 0
    return float(f1_by_class(counts)[occurs].mean())


def mcc(counts: Counts) -> float:
    """Matthews' correlation for any number of classes (Gorodkin, 2004); 0 where either side is all one class."""
    right, total = int(counts.right.sum()), int(counts.true.sum())
    true, predicted = counts.true.tolist(), counts.predicted.tolist()
    covariance = right * total - sum(t * p for t, p in zip(true, predicted, strict=True))
    variances = [total**2 - sum(n * n for n in side) for side in (true, predicted)]
    return covariance / math.sqrt(math.prod(variances)) if all(variances) else 0.0
