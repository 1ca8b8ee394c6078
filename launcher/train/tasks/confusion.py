"""Metrics of classes from counts alone: importing scikit-learn takes longer than evaluating a small model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer[Any]]


def confusion_matrix(truth: Classes, predicted: Classes, classes: int) -> NDArray[np.int64]:
    """(n, n) examples of each true class (row) that were taken for each class (column)."""
    pairs = truth.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of examples on the diagonal; for one label an example also the micro-averaged F1."""
    return float(np.trace(matrix) / matrix.sum())


def f1_by_class(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) harmonic mean of precision and recall, 0 for a class that was never predicted rightly."""
    both = matrix.sum(0) + matrix.sum(1)
    shares: NDArray[np.float64] = 2 * np.diagonal(matrix) / np.maximum(both, 1)
    return shares


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur, in the truth or among the predictions."""
    occurs = matrix.sum(0) + matrix.sum(1) > 0
    return float(f1_by_class(matrix)[occurs].mean())


def mcc(matrix: NDArray[np.int64]) -> float:
    """Matthews' correlation for any number of classes (Gorodkin, 2004); 0 where either side is all one class."""
    right, total = int(np.trace(matrix)), int(matrix.sum())
    true, predicted = ([int(n) for n in matrix.sum(axis)] for axis in (1, 0))
    covariance = right * total - sum(t * p for t, p in zip(true, predicted, strict=True))
    variances = [total**2 - sum(n * n for n in side) for side in (true, predicted)]
    return covariance / math.sqrt(math.prod(variances)) if all(variances) else 0.0
