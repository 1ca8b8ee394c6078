"""How late a training may be asked to stop before its time limit, and by whom."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from support.plans import new_run, plan_of

from launcher.health.records import NodeHealth, Pace, read_pace, write_node, write_pace
from launcher.health.time_limit import ASK_S, TimeKeeper, heeds, lead_s
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.events import Notice, read_events
from launcher.train.record.pace import PaceLog

QUICK = Pace(step_s=0.1, evaluation_s=1.0, save_s=0.5)
SLOW = Pace(step_s=10.0, evaluation_s=600.0, save_s=300.0)


class Scheduler:
    """What a scheduler answers, and how often it was asked."""

    def __init__(self, left_s: float | None, grace_s: float | None = None) -> None:
        self.left_s, self.grace, self.asked = left_s, grace_s, 0

    def ends_by(self) -> float | None:
        self.asked += 1
        return None if self.left_s is None else time.time() + self.left_s

    def grace_s(self) -> float | None:
        return self.grace


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = new_run(plan_of({}, run_dir=tmp_path / "r"))
    run.attempt(1).path.mkdir()
    return run


@pytest.fixture
def attempt(run: RunDir) -> AttemptDir:
    return run.attempt(1)


def keeper(run: RunDir, scheduler: Scheduler) -> TimeKeeper:
    return TimeKeeper(run, run.attempt(1), scheduler.ends_by, scheduler.grace_s)


def notices(run: RunDir) -> list[str]:
    return [event.text for event in read_events(run.events, Notice)]


def test_the_lead_covers_steps_under_way_and_two_saves_but_not_a_whole_evaluation() -> None:
    assert lead_s(QUICK) == pytest.approx(15 + 1.2 * (0.3 + 0.5 + 1.0))
    assert lead_s(SLOW) == pytest.approx(15 + 1.2 * (30 + 300 + 600))
    assert lead_s(Pace(1.0, 0.0, 1.0)) < lead_s(Pace(1.0, 5.0, 1.0)) == lead_s(Pace(1.0, 1000.0, 1.0))


def test_nothing_is_asked_before_something_is_known(run: RunDir) -> None:
    scheduler = Scheduler(left_s=1.0)
    keeper(run, scheduler).look()
    assert scheduler.asked == 0
    assert not run.stop.exists()


@pytest.mark.parametrize(("left_s", "stops"), [(10.0, True), (1000.0, False), (None, False)])
def test_a_training_is_asked_to_stop_once_its_limit_is_near(
    run: RunDir, attempt: AttemptDir, left_s: float | None, stops: bool
) -> None:
    write_pace(attempt, QUICK)
    keeper(run, Scheduler(left_s)).look()
    assert run.stop_requested_by() == ("time-limit" if stops else None)
    assert len(notices(run)) == stops
    assert not stops or "it saves and stops" in notices(run)[0]


def test_a_training_whose_saves_take_long_is_asked_earlier(run: RunDir, attempt: AttemptDir) -> None:
    write_pace(attempt, SLOW)
    keeper(run, Scheduler(1000.0)).look()
    assert run.stop_requested_by() == "time-limit"


def test_a_limit_that_was_moved_is_seen_before_it_would_be_acted_upon(
    run: RunDir, attempt: AttemptDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pace(attempt, QUICK)
    scheduler = Scheduler(40.0)
    watching = keeper(run, scheduler)
    watching.look()
    watching.look()
    assert scheduler.asked == 1
    scheduler.left_s = 3600.0  # it is given an hour more
    soon, later = time.time() + 35, time.monotonic() + 2 * ASK_S
    monkeypatch.setattr("launcher.health.time_limit.time.time", lambda: soon)
    watching.look()
    assert not run.stop.exists()
    assert scheduler.asked == 2
    scheduler.left_s = 5.0
    watching.look()
    assert not run.stop.exists()  # it asks once a minute
    monkeypatch.setattr("launcher.health.time_limit.time.monotonic", lambda: later)
    watching.look()
    assert run.stop_requested_by() == "time-limit"


@pytest.mark.parametrize(("left_s", "stops"), [(None, True), (math.inf, False)])
def test_a_limit_holds_where_the_scheduler_does_not_answer_in_time_and_stops_nobody_where_it_was_lifted(
    run: RunDir, attempt: AttemptDir, monkeypatch: pytest.MonkeyPatch, left_s: float | None, stops: bool
) -> None:
    """A controller may be busy, or be started again, in the very seconds in which a training must be asked to stop."""
    write_pace(attempt, QUICK)
    scheduler = Scheduler(40.0)
    watching = keeper(run, scheduler)
    watching.look()
    scheduler.left_s = left_s
    soon = time.time() + 35
    monkeypatch.setattr("launcher.health.time_limit.time.time", lambda: soon)
    watching.look()
    assert scheduler.asked == 2
    assert run.stop_requested_by() == ("time-limit" if stops else None)


def test_the_wish_of_a_user_is_left_as_it_is(run: RunDir, attempt: AttemptDir) -> None:
    write_pace(attempt, QUICK)
    run.stop.write_text("user")
    keeper(run, Scheduler(5.0)).look()
    assert run.stop_requested_by() == "user"
    assert notices(run) == []


def test_a_save_that_takes_longer_than_its_partition_gives_is_said_once(
    run: RunDir, attempt: AttemptDir
) -> None:
    write_pace(attempt, SLOW)
    watching = keeper(run, Scheduler(None, grace_s=30.0))
    watching.look()
    watching.look()
    [said] = notices(run)
    assert "a save takes 5 min 00 s, and a job of this partition gets 30 s" in said
    keeper(run, Scheduler(None, grace_s=900.0)).look()
    assert len(notices(run)) == 1


def test_a_warning_is_heeded_unless_the_watcher_will_ask_for_the_stop_later(attempt: AttemptDir) -> None:
    def heeded(left_s: float | None) -> bool:
        return heeds(attempt, None if left_s is None else time.time() + left_s, notice_s=120)

    assert heeded(130.0)  # nothing is measured
    write_pace(attempt, QUICK)
    assert heeded(130.0)  # nobody watches
    write_node(attempt, NodeHealth(0, "a", time.time(), ()))
    assert not heeded(130.0)
    assert heeded(None)
    assert heeded(30.0)  # as where a job has to give way
    assert heeded(600.0)  # not the scheduler's, but somebody's
    write_node(attempt, NodeHealth(0, "a", time.time() - 60, ()))
    assert heeded(130.0)


def test_what_is_measured_is_told_after_each_save_and_evaluation(attempt: AttemptDir) -> None:
    told = PaceLog(attempt)
    told.note([1.0, 2.0], [], [])
    assert read_pace(attempt) is None
    told.note([9.0, *[1.0] * 49, 2.0], [], [3.0])
    assert read_pace(attempt) == Pace(2.0, 0.0, 3.0)
    told.note([5.0], [], [3.0])
    assert read_pace(attempt) == Pace(2.0, 0.0, 3.0)
    told.note([5.0], [4.0], [3.0, 1.0, 1.0, 1.0])
    assert read_pace(attempt) == Pace(5.0, 4.0, 1.0)


def test_a_damaged_measurement_is_none(attempt: AttemptDir) -> None:
    write_pace(attempt, QUICK)
    (attempt.health / "pace.json").write_text('{"step_s": "a"}')
    assert read_pace(attempt) is None
