"""The time left of a run counts all that is still to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.training import RankServer, make_run, recipe

from launcher.runs.events import Evaluated, Step, read_events
from launcher.train.record.time_left import Work, time_left

WORK = Work(
    steps=100,
    examples_per_step=30,
    validation_examples=600,
    evaluate_every=20,
    save_every=50,
    final_examples=900,
    ranks=2,
)


def test_all_that_is_to_come_is_counted() -> None:
    # 60 steps of 2 s, evaluations after 60, 80 and 100, saves after 50 and 100, 900 examples by one of two ranks.
    left = time_left(WORK, 40, steps=[1.0, 3.0], evaluations=[10.0, 14.0], saves=[0.5])
    assert left == pytest.approx(60 * 2 + 3 * 12 + 2 * 0.5 + 900 * 2 * 12 / 600)


def test_before_the_first_evaluation_it_is_estimated_from_the_speed_of_the_steps() -> None:
    # A step of 30 examples takes 3 s, so 30 examples forward take 1 s.
    left = time_left(WORK, 10, steps=[3.0], evaluations=[], saves=[])
    assert left == pytest.approx(90 * 3 + 5 * 20 + 900 * 2 / 30)


def test_after_the_last_step_the_evaluations_are_left() -> None:
    assert time_left(WORK, 100, [1.0], [60.0], []) == pytest.approx(60 + 180)


@pytest.mark.parametrize(
    ("every", "step", "evaluations"),
    [
        (None, 10, 1),
        (30, 10, 4),
        (30, 99, 1),
        (30, 100, 1),
        (20, 19, 5),
        (20, 20, 4),
        (20, 100, 1),
        (500, 10, 1),
    ],
)
def test_evaluations_still_to_come(every: int | None, step: int, evaluations: int) -> None:
    work = replace(WORK, evaluate_every=every, final_examples=0)
    assert time_left(work, step, [0.0], [1.0], []) == evaluations


@pytest.mark.long
def test_a_run_tells_of_its_evaluations_to_come(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 6}, eval={"every": 2}, checkpoint={"every": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    events = list(read_events(run.events, Step, Evaluated))
    left = {event.step: event.eta_s or 0.0 for event in events if isinstance(event, Step)}
    took = [event.seconds for event in events if isinstance(event, Evaluated) and event.seconds]
    assert len(took) == 3
    assert left[3] > 2 * took[0]  # those after steps 4 and 6
    assert left[6] > (took[0] + took[1]) / 2  # that of the last step
