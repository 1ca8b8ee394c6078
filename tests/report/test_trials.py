"""The figures of `launch report SWEEP`: what each key does."""

from __future__ import annotations

import pytest

from launcher.report.trials import ticks


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.9508, 0.9532, ["0.951", "0.952", "0.953"]),
        (0.93716, 0.93764, ["0.9372", "0.9374", "0.9376"]),
        (-0.08, 1.08, ["0.0", "0.5", "1.0"]),
        (12_000, 13_000, ["12000", "12500", "13000"]),
        (-2.0, 5.0, ["-2", "0", "2", "4"]),
    ],
)
def test_marks_of_an_axis_are_round_and_written_as_they_are(
    low: float, high: float, written: list[str]
) -> None:
    found = ticks(low, high)
    assert [text for _, text in found] == written
    assert [figure for figure, _ in found] == pytest.approx([float(text) for text in written])
