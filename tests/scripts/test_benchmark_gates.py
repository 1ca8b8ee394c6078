"""When a benchmark says that two accuracies are the same: over seeds, with their spread."""

import pytest

from benchmarks.report import compared


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.86], [0.80], "not judged by 1 seed, 3 are needed"),
        (
            [0.860, 0.861, 0.862],
            [0.861, 0.862, 0.863],
            "-0.10 ± 0.16 points over 3 seeds, within half a point",
        ),
        ([0.85, 0.86, 0.87], [0.840, 0.852, 0.862], "less than the seeds' spread: more seeds are needed"),
        ([0.84, 0.841, 0.842], [0.860, 0.861, 0.862], "NOT within half a point"),
        ([0.88, 0.881, 0.882], [0.860, 0.861, 0.862], "better"),
    ],
)
def test_accuracies_are_compared_over_seeds(ours: list[float], theirs: list[float], verdict: str) -> None:
    assert compared(ours, theirs, chance=0.5).endswith(verdict)


def test_two_models_at_chance_say_nothing_however_alike_they_are() -> None:
    assert compared([0.5103] * 3, [0.5107] * 3, chance=0.5092).startswith("says nothing, 51.1% at best")
    assert "take more --rows" in compared([0.5103], [0.5107], chance=0.5092)
