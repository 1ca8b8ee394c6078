"""Which rank is slow, by what each spends on its own work."""

from __future__ import annotations

import random

import pytest

from launcher.health.beats import Part
from launcher.health.stragglers import STRETCH, STRETCHES, Stragglers

WINDOW = STRETCH * STRETCHES
OWN: tuple[Part, ...] = ("data", "forward", "backward", "optimizer")


def step(
    *factors: float, jitter: float = 0.0, dice: random.Random | None = None, waits: tuple[float, ...] = ()
) -> list[float]:
    """Seconds of data, forward, backward, gradients and optimizer of each rank, and its share of waits for cores.

    The quick ones wait for the slowest.
    """
    noise = [1 + jitter * (dice.random() - 0.5) if dice else 1.0 for _ in factors]
    times = [factor * more for factor, more in zip(factors, noise, strict=True)]
    longest = max(times)
    shares = waits or (0.0,) * len(times)
    return [
        figure
        for time, share in zip(times, shares, strict=True)
        for figure in (0.001, 0.01, 0.02 * time, 0.02 * (longest - time), 0.002, share)
    ]


def test_a_rank_that_is_slower_for_fifty_steps_is_named_with_where_it_loses() -> None:
    stragglers = Stragglers(OWN)
    found = [stragglers.add(step(1.0, 1.0, 2.0, 1.0)) for _ in range(WINDOW)]
    assert found.index(True) == WINDOW - 1
    assert stragglers.slow == 2
    assert stragglers.times is not None
    assert stragglers.times.part == "backward"
    assert round(stragglers.times.ratio, 2) == round((0.013 + 0.04) / (0.013 + 0.02), 2)
    assert stragglers.times.seconds["backward"] == pytest.approx((0.02, 0.02, 0.04, 0.02))


def test_a_rank_that_loses_its_time_by_waiting_for_cores_is_named_so() -> None:
    stragglers = Stragglers(OWN)
    for _ in range(WINDOW):
        stragglers.add(step(1.0, 1.0, 3.0, waits=(0.0, 0.1, 0.5)))
    assert stragglers.slow == 2
    assert stragglers.times is not None
    assert stragglers.times.part == "cores"
    # Own work takes 0.033, 0.033 and 0.073 s, of which 0, 0.0033 and 0.0365 s are waits.
    assert round(stragglers.times.ratio, 3) == round(0.073 / 0.033, 3)
    assert round(stragglers.times.own_ratio, 3) == round((0.073 - 0.0365 + 0.0033 / 2) / 0.033, 3)


def test_another_reason_is_told_once_and_a_mixed_spell_changes_nothing() -> None:
    stragglers, causes = Stragglers(OWN), []
    waiting, working = (0.0, 0.0, 0.6), (0.0, 0.0, 0.0)
    mixed = [waiting if number // STRETCH % 2 else working for number in range(4 * WINDOW)]
    for waits in [*[working] * WINDOW, *mixed, *[waiting] * WINDOW, *mixed, *[working] * WINDOW]:
        stragglers.add(step(1.0, 1.0, 3.0, waits=waits))
        if stragglers.cause is not None and stragglers.cause not in causes[-1:]:
            causes.append(stragglers.cause)
    assert causes == [(2, False), (2, True), (2, False)]


def test_waits_for_cores_that_all_have_excuse_nobody() -> None:
    stragglers = Stragglers(OWN)
    for _ in range(WINDOW):
        stragglers.add(step(1.0, 1.0, 3.0, waits=(0.5, 0.5, 0.3)))
    assert stragglers.slow == 2
    assert stragglers.times is not None
    assert stragglers.times.part == "backward"
    assert stragglers.times.own_ratio > 1.3


def test_waiting_for_others_is_nobodys_slowness_and_noise_is_none() -> None:
    dice, stragglers = random.Random(1), Stragglers(OWN)
    for _ in range(300):
        stragglers.add(step(1.0, 1.0, 1.1, 1.0, jitter=0.8, dice=dice))
        assert stragglers.slow is None


def test_one_long_pause_or_a_slow_spell_shorter_than_the_window_is_forgiven() -> None:
    stragglers = Stragglers(OWN)
    for number in range(200):
        stragglers.add(step(1.0, 500.0 if number == 70 else 3.0 if 100 <= number < 130 else 1.0))
        assert stragglers.slow is None


def test_a_rank_that_is_halted_again_and_again_is_slow_though_most_of_its_steps_are_not() -> None:
    """As one is whose job has used up its share of the processors, in every tenth of a second."""
    stragglers = Stragglers(OWN)
    for number in range(WINDOW):
        stragglers.add(step(1.0, 4.0 if number % 3 == 0 else 1.0))
    assert stragglers.slow == 1


def test_it_is_slow_until_it_has_caught_up() -> None:
    stragglers = Stragglers(OWN)
    slow = []
    for number in range(200):
        stragglers.add(step(1.0, 2.0 if number < 100 else 1.0))
        slow.append(stragglers.slow)
    assert slow[48] is None
    assert slow[49:99] == [1] * 50
    assert slow[-1] is None


def test_a_rank_alone_is_never_slow() -> None:
    stragglers = Stragglers(OWN)
    assert not any(stragglers.add([]) for _ in range(2 * WINDOW))
