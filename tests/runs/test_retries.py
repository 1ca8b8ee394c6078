"""What a run does by itself after a failure: progress earns a retry, and nothing else does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of

from launcher import node
from launcher.node import begin, end
from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import ANSWERS
from launcher.runs.files import write_json, write_text
from launcher.runs.records import read_json
from launcher.runs.retries import MOST_FAILURES, MOST_INTERRUPTIONS, WAITS_S

DOCS = Path(__file__).parents[2] / "docs" / "failures.md"
JOB = {"slurm": "12", "local": "local 1"}


def new(tmp_path: Path, executor: str = "slurm", **changes: Any) -> RunDir:
    return new_run(plan_of({"executor": executor, **changes}, run_dir=tmp_path / "runs" / "r"))


def start(run: RunDir, job: str | None = None) -> int:
    """Begin the next attempt; its number."""
    started = begin(run, job or JOB[run.read_plan().executor], 0, ["localhost"])
    assert isinstance(started, node.Start), started
    return started.attempt


def fail(
    run: RunDir, kind: str, step: int | None = None, saved: int | None = None, job: str | None = None
) -> tuple[int, str]:
    """An attempt that fails in this step, with a checkpoint of that one; what its script does next."""
    number = start(run, job)
    if saved is not None:
        checkpoint = run.checkpoints / f"step_{saved}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        write_json(checkpoint / "manifest.json", {"step": saved, "files": {}})
    error = {"class": kind, "message": f"it was {kind}", "step": step, "rank": 1, "host": "node3"}
    write_json(run.result, {"status": "failed", "error": error})
    write_text(run.attempt(number).exit_code, "1\n")
    return end(run, run.attempt(number), 1)


def message(run: RunDir) -> str:
    return str((read_json(run.result) or {})["error"]["message"])


@pytest.mark.parametrize(
    ("kind", "on_slurm", "here"),
    [
        ("hang", "again", "again"),
        ("network", "again", "again"),
        ("storage", "again", "again"),
        ("memory", "again", "again"),
        ("killed", "again", "stay"),
        ("crashed", "again", "stay"),
        ("of a later version", "again", "stay"),
        ("node", "requeue", "stay"),
        ("diverged", "stay", "stay"),
        ("data", "stay", "stay"),
        ("code", "stay", "stay"),
        ("time-limit", "stay", "stay"),
    ],
)
def test_each_class_has_its_answer(tmp_path: Path, kind: str, on_slurm: str, here: str) -> None:
    assert fail(new(tmp_path / "slurm"), kind, 7) == (1, on_slurm)
    assert fail(new(tmp_path / "local", "local"), kind, 7) == (1, here)


def test_without_requeue_only_smaller_micro_batches_are_tried(tmp_path: Path) -> None:
    run = new(tmp_path, requeue=False)
    assert fail(run, "network", 7) == (1, "stay")
    assert fail(run, "memory", 7) == (1, "again")


@pytest.mark.fault(15)
def test_the_same_failure_at_the_same_step_ends_the_run(tmp_path: Path) -> None:
    run = new(tmp_path)
    assert fail(run, "crashed", 12, saved=10) == (1, "again")
    assert fail(run, "network", 12) == (1, "again")
    assert fail(run, "network", 12) == (1, "stay")
    assert message(run) == "it was network\nattempt 2 failed in the same way at step 12: it would come again"


@pytest.mark.fault(15)
def test_the_same_failure_before_any_step_ends_the_run(tmp_path: Path) -> None:
    run = new(tmp_path)
    assert fail(run, "network") == (1, "again")
    assert fail(run, "network") == (1, "stay")
    assert "in the same way before its first step" in message(run)


def test_a_training_that_dies_at_its_start_is_not_tried_again(tmp_path: Path) -> None:
    run = new(tmp_path)
    assert fail(run, "crashed") == (1, "stay")
    assert fail(run, "killed") == (1, "stay")


@pytest.mark.fault(15)
def test_failures_without_a_newer_checkpoint_are_counted_and_progress_starts_anew(tmp_path: Path) -> None:
    run = new(tmp_path)
    steps = iter(range(11, 1000, 7))
    for saved in (10, 20, 30):
        for _ in range(MOST_FAILURES - 1):
            assert fail(run, "killed", next(steps), saved) == (1, "again")
    assert fail(run, "killed", next(steps)) == (1, "stay")
    assert message(run).endswith(
        f"{MOST_FAILURES} attempts in a row have failed since the checkpoint of step 30"
    )


@pytest.mark.fault(15)
def test_coming_back_to_a_checkpoint_that_was_lost_is_no_progress(tmp_path: Path) -> None:
    """Failures that alternate between two steps, and between the checkpoints of two steps, have an end."""
    run = new(tmp_path)
    assert fail(run, "killed", 13, saved=10) == (1, "again")
    assert fail(run, "killed", 21, saved=20) == (1, "again")
    shutil.rmtree(run.checkpoints / "step_20")
    assert fail(run, "killed", 13) == (1, "again")
    assert fail(run, "killed", 21, saved=20) == (1, "stay")
    assert message(run).endswith("3 attempts in a row have failed since the checkpoint of step 20")


def test_each_next_attempt_waits_longer(tmp_path: Path) -> None:
    run = new(tmp_path)
    fail(run, "network", 3)
    fail(run, "network", 4)
    assert [run.attempt(number).read().wait_s for number in (1, 2)] == list(WAITS_S)
    fail(run, "network", 14, saved=10)
    assert run.attempt(3).read().wait_s == WAITS_S[0]


def test_who_resumes_by_hand_starts_the_count_anew(tmp_path: Path) -> None:
    run = new(tmp_path)
    fail(run, "network", 7)
    assert fail(run, "network", 7) == (1, "stay")
    assert fail(run, "network", 7, job="13") == (1, "again")


def test_a_job_that_took_the_place_of_another_goes_on_counting(tmp_path: Path) -> None:
    run = new(tmp_path)
    for number in (1, 2):
        assert fail(run, "killed", step=number, saved=0) == (1, "again")
    begin(run, "13", 0, ["localhost"], chain="12")
    write_json(run.result, {"status": "failed", "error": {"class": "killed", "message": "", "step": 3}})
    write_text(run.attempt(3).exit_code, "1\n")
    assert end(run, run.attempt(3), 1) == (1, "stay")
    assert "3 attempts in a row" in message(run)


def test_a_signal_of_the_scheduler_leaves_no_time_for_another_attempt(tmp_path: Path) -> None:
    run = new(tmp_path)
    number = start(run)
    write_json(run.result, {"status": "failed", "error": {"class": "network", "message": "lost"}})
    write_text(run.attempt(number).exit_code, "1\n")
    assert end(run, run.attempt(number), 1) == (1, "again")
    run.stop.write_text("signal")  # while the script waits
    assert end(run, run.attempt(number), 1) == (1, "requeue")


def test_a_job_that_is_interrupted_for_ever_ends(tmp_path: Path) -> None:
    run = new(tmp_path)
    for _ in range(MOST_INTERRUPTIONS):
        start(run)
    assert begin(run, "12", 5, ["localhost"]) == "failed"
    assert "5 attempts in a row were interrupted" in message(run)
    assert start(run, "13") == MOST_INTERRUPTIONS + 1


def test_the_end_of_the_log_says_why_and_what_comes_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new(tmp_path)
    fail(run, "network", 12, saved=10)
    assert capsys.readouterr().err == "attempt 1 failed: network (rank 1 on node3 step 12): it was network\n"
    notice = json.loads(run.events.read_text().splitlines()[-1])
    assert notice["text"].endswith("it was network; it goes on from the checkpoint of step 10 in 5 s")


@pytest.mark.skipif(not DOCS.exists(), reason="not yet written")
def test_the_page_on_failures_names_every_class() -> None:
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    # The table of classes is the page's first; faults that a drill does have some of their names.
    named = {row[1].strip().strip("`"): row[3].strip() for row in reversed(rows)}
    words = {"retry": "again", "smaller": "again", "elsewhere": "elsewhere", "never": "never"}
    for kind, answer in ANSWERS.items():
        assert named[kind].startswith(words[answer]), kind
