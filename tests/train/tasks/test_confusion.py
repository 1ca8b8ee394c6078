"""Metrics from counts are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from launcher.train.tasks.confusion import Counts, accuracy, f1_by_class, macro_f1, mcc
from launcher.train.tasks.outcomes import one_of_several


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
@pytest.mark.filterwarnings("ignore")
def test_as_scikit_learn_counts(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    counts = Counts.of(truth, predicted, 5)
    assert accuracy(counts) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(counts) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert mcc(counts) == pytest.approx(matthews_corrcoef(truth, predicted), abs=1e-12)
    classes = sorted({*truth.tolist(), *predicted.tolist()})
    expected = f1_score(truth, predicted, average=None, labels=classes, zero_division=0)
    assert f1_by_class(counts)[classes] == pytest.approx(expected)


def test_many_classes_take_room_by_their_number_not_by_its_square() -> None:
    """A matrix of a hundred thousand classes would take 80 GB; nobody looks at one of more than a thousand."""
    classes = 100_000
    truth, predicted = np.array([0, 1, classes - 1]), np.array([0, 2, classes - 1])
    counts = Counts.of(truth, predicted, classes)
    assert accuracy(counts) == pytest.approx(2 / 3)
    assert macro_f1(counts) == pytest.approx(2 / 4)
    assert mcc(counts) == pytest.approx(matthews_corrcoef(truth, predicted))
    found = one_of_several(truth, np.full(3, 0.5), predicted, [str(number) for number in range(classes)])
    assert found.confusion is None
    assert [each.name for each in found.classes if each.support] == ["0", "1", "99999"]
