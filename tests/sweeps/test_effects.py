"""What each key of a sweep does."""

from __future__ import annotations

import pytest

from launcher.sweeps.effects import Level, effects


def test_the_key_that_matters_most_comes_first_with_its_best_value() -> None:
    grid = [
        ({"train.lr": lr, "train.warmup": warmup}, lr * 100 + warmup)
        for lr in (1e-3, 1e-2)
        for warmup in (0, 0.1)
    ]
    lr, warmup = effects(grid, higher_is_better=True)
    assert (lr.key, warmup.key) == ("train.lr", "train.warmup")
    assert lr.levels == (Level(1e-2, pytest.approx(1.05), 2), Level(1e-3, pytest.approx(0.15), 2))
    assert lr.span == pytest.approx(0.9)
    assert effects(grid, higher_is_better=False)[0].levels[0].value == 1e-3


def test_many_numbers_are_ranked() -> None:
    (found,) = effects([({"train.lr": n / 10}, -float(n)) for n in range(10)], higher_is_better=True)
    assert (found.levels, found.rank_correlation) == ((), pytest.approx(-1))
    assert found.span == pytest.approx(5)


def test_words_have_no_rank_and_a_key_with_one_value_no_effect() -> None:
    trials = [({"a": "x", "b": 1}, 0.5), ({"a": "y", "b": 1}, 0.7), ({"a": None, "b": 1}, 0.6)]
    (found,) = effects(trials, higher_is_better=True)
    assert [level.value for level in found.levels] == ["y", None, "x"]
    assert [level.written for level in found.levels] == ["y", "null", "x"]
    assert found.rank_correlation is None
    assert effects([], higher_is_better=True) == []


def test_equal_metrics_have_no_correlation() -> None:
    (found,) = effects([({"a": 1}, 0.5), ({"a": 2}, 0.5)], higher_is_better=True)
    assert (found.span, found.rank_correlation) == (0, None)
