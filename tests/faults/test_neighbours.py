"""Two runs of several ranks at the same time on one machine: neither takes the other's port, files or ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE, Training
from support.training import losses


@pytest.mark.fault(24)
def test_two_runs_of_two_ranks_at_once(
    start: Callable[..., Training],
    undisturbed: Callable[[int], list[float]],
    tmp_path: Path,
    happened: Seen,
) -> None:
    places = [tmp_path / name for name in ("one", "other")]
    for place in places:
        place.mkdir()
    trainings = [start(*RECIPE, "gpus=2", "run_id=r", directory=place) for place in places]
    for training in trainings:
        training.end(code=0)
    assert [losses(training.run) for training in trainings] == [undisturbed(2)] * 2
    happened("two runs of two ranks each, started together: both to the losses of one alone")
