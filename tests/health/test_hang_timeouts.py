"""How long a training may show no progress."""

from __future__ import annotations

import pytest

from launcher.health.hang_timeouts import FLOOR_S, bound_s, floor_s


def test_fast_steps_may_be_silent_for_a_minute_and_slow_ones_for_five_of_the_slowest() -> None:
    assert bound_s("step", 60, [0.1] * 200, {}) == 60
    assert bound_s("step", 60, [], {}) == 60
    assert bound_s("step", 60, [20.0] * 98 + [30.0, 40.0], {}) == 5 * 30.0


def test_other_phases_have_longer_and_learn_from_what_they_took_before() -> None:
    unknown, quick, slow = (bound_s("save", 60, [], seen) for seen in ({}, {"save": 2.0}, {"save": 500.0}))
    assert (unknown, quick, slow) == (1800, 600, 2500)


def test_a_halted_rank_has_the_bound_of_a_step_in_whatever_phase_it_is() -> None:
    assert bound_s("loading", 60, [], {}, halted=True) == 60
    assert bound_s("evaluation", 60, [20.0] * 100, {"evaluation": 900.0}, halted=True) == 100


def test_the_variable_is_seconds_or_off() -> None:
    assert [floor_s(word) for word in (None, " ", "5", "0.5", "off", "OFF", "0")] == [
        FLOOR_S,
        FLOOR_S,
        5.0,
        0.5,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("word", ["-1", "nan", "inf", "never"])
def test_anything_else_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=word.lstrip("-") or "."):
        floor_s(word)
