"""Predictions beside the truth: figures of classes, calibration, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from launcher.runs.examination import ClassFigures
from launcher.tasks.shared.tagging import BIO
from launcher.train.tasks.entity_scores import entity_figures, entity_metrics, sentence_counts
from launcher.train.tasks.outcomes import Certainty, Outcomes, far_off, one_of_several

NAMES = ("no", "maybe", "yes")


def test_the_figures_of_classes_and_the_worst_example() -> None:
    truth = np.array([0, 0, 1, 2])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.3, 0.6], [0.2, 0.7, 0.1], [0.95, 0.0, 0.05]])
    found = one_of_several(truth, probabilities.max(axis=-1), probabilities.argmax(axis=-1), NAMES)
    assert found.confusion is not None
    assert found.confusion.counts == ((1, 0, 1), (0, 1, 0), (1, 0, 0))
    assert found.classes[0] == ClassFigures("no", 0.5, 0.5, 0.5, support=2, predicted=2)
    assert found.classes[2] == ClassFigures("yes", 0.0, 0.0, 0.0, support=1, predicted=1)
    assert np.argsort(-found.badness)[:2].tolist() == [3, 1], "the wrong ones, the surest first"
    assert (found.expected[3], found.predicted[3]) == ("yes", "no")


def test_a_model_that_is_as_often_right_as_it_says_has_no_calibration_error() -> None:
    confidence = np.repeat([0.75, 0.25], 100)
    right = np.concatenate([np.arange(100) < 75, np.arange(100) < 25])
    honest = Outcomes(right, [], [], certainty=Certainty(confidence, right)).calibration()
    assert honest is not None
    assert honest.error == pytest.approx(0)
    boastful = Outcomes(right, [], [], certainty=Certainty(np.ones(200), right)).calibration()
    assert boastful is not None
    assert (boastful.error, len(boastful.bins)) == (pytest.approx(0.5), 1)


def test_numbers_are_near_or_far_but_not_wrong() -> None:
    found = far_off(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    assert not found.is_exact
    assert found.badness.tolist() == [0.5, 0.0]


def test_entities_of_a_draw_are_counted_like_those_of_its_sentences() -> None:
    gold = [["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["O", "O"]]
    predicted = [["B-PER", "O", "O"], ["O", "B-LOC"], ["B-PER", "O"]]
    counts = sentence_counts(gold, predicted, BIO)
    for chosen in ([0, 1, 2], [1, 1, 0], [2, 2, 2]):
        expected = entity_metrics([gold[i] for i in chosen], [predicted[i] for i in chosen], BIO)
        found = counts.metrics(np.array(chosen))
        assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert [each.name for each in entity_figures(gold, predicted, BIO)] == ["LOC", "PER"]
