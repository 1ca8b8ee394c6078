"""The test between two trainings, against figures that can be counted by hand."""

from __future__ import annotations

import itertools

import pytest

from launcher.report.significance import difference, sign_flip_p


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1, 0.2], 2 / 4),
        ([0.1, 0.2, 0.3], 2 / 8),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        ([0.1, -0.1], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
        # of 8 choices, those with a sum of 4 or more in size: +++ ++- (6, 4) and their mirror images
        ([1.0, -1.0, 4.0], 6 / 8),
        ([3.0, 2.0, -1.0], 4 / 8),
    ],
)
def test_the_share_of_signs_that_lead_as_far(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences) == pytest.approx(p)
    assert sign_flip_p([-value for value in differences]) == pytest.approx(p)


def test_many_pairs_are_sampled_the_same_each_time() -> None:
    differences = [0.01 * (-1) ** index + 0.004 for index in range(18)]
    exact = [abs(sum(signs)) for signs in itertools.product(*((value, -value) for value in differences))]
    share = sum(total >= abs(sum(differences)) - 1e-12 for total in exact) / len(exact)
    assert sign_flip_p(differences) == pytest.approx(share, abs=0.01)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    assert sign_flip_p([1.0] * 40) == pytest.approx(1 / 50_001)


def test_only_common_seeds_are_paired() -> None:
    found = difference({1: 0.5, 2: 0.6, 3: 0.9}, {2: 0.7, 3: 0.8, 4: 0.1})
    assert found is not None
    assert (found.mean, found.seeds, found.p) == (pytest.approx(0.0), 2, 1.0)
    assert difference({1: 0.5, 2: 0.6}, {2: 0.7, 3: 0.8}) is None
    assert difference({1: 0.5, 2: float("nan")}, {1: 0.7, 2: 0.8}) is None
