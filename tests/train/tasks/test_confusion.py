"""Metrics from counts are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from launcher.train.tasks.confusion import accuracy, confusion_matrix, f1_by_class, macro_f1, mcc


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
@pytest.mark.filterwarnings("ignore")
def test_as_scikit_learn_counts(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    matrix = confusion_matrix(truth, predicted, 5)
    assert accuracy(matrix) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert mcc(matrix) == pytest.approx(matthews_corrcoef(truth, predicted), abs=1e-12)
    classes = sorted({*truth.tolist(), *predicted.tolist()})
    expected = f1_score(truth, predicted, average=None, labels=classes, zero_division=0)
    assert f1_by_class(matrix)[classes] == pytest.approx(expected)
