"""samples/rank_R.jsonl: each step once, whatever ranks an attempt has had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.plans import new_run, plan_of

from launcher.runs.directory import RunDir
from launcher.train.record.samples import SampleLog

# The end of a rank's process closes its file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "r"))


def write(run: RunDir, start: int, end: int) -> None:
    """An attempt from the end of step `start` to that of `end`, with this rank in it."""
    log = SampleLog.open(run, 1, start)
    for step in range(start + 1, end + 1):
        log.write(step, [step])


def steps(run: RunDir) -> list[int]:
    return [json.loads(line)["step"] for line in run.rank_samples(1).read_text().splitlines()]


def test_steps_that_are_done_again_stand_there_once(run: RunDir) -> None:
    write(run, 0, 5)
    write(run, 3, 7)
    assert steps(run) == [1, 2, 3, 4, 5, 6, 7]


def test_a_rank_that_an_earlier_attempt_had_not_begins_later(run: RunDir) -> None:
    write(run, 10, 15)
    write(run, 12, 16)
    assert steps(run) == [11, 12, 13, 14, 15, 16]


def test_a_torn_line_goes(run: RunDir) -> None:
    write(run, 0, 3)
    with run.rank_samples(1).open("a") as file:
        file.write('{"step": 4, "exam')
    write(run, 3, 4)
    assert steps(run) == [1, 2, 3, 4]
