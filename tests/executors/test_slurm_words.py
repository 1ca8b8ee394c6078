"""What Slurm's words about a job mean, in the form of each of its commands."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher.cli import execute
from launcher.executors import executor_for
from launcher.executors.shared import slurm_cancelling
from launcher.executors.shared.base import JobState
from launcher.executors.shared.outcome import without_result
from launcher.executors.shared.slurm_cancelling import leave_the_queue
from launcher.executors.shared.slurm_records import timestamp
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.results import Result

DOWN = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = new_run(plan_of({"executor": "slurm"}, run_dir=tmp_path / "runs" / "r"))
    run.add_job("7")
    return run


@pytest.mark.parametrize(
    ("reason", "means"),
    [
        (DOWN, "for nodes that are down, drained or reserved"),
        ("ReqNodeNotAvail, UnavailableNodes:node2", "for nodes that are down, drained or reserved"),
        ("job requeued in held state", "until it is released: it was put back to be held"),
        ("launch failed requeued held", "until it is released: its start failed"),
        ("JobHoldMaxRequeue", "until it is released: its start has failed too often"),
        ("ReservationDeleted", "until it is released: its reservation was deleted"),
    ],
)
def test_why_a_job_waits_is_said_whichever_command_tells(
    commands: Path, run: RunDir, reason: str, means: str
) -> None:
    """squeue has blanks in a reason, scontrol has underscores."""
    known = reason.replace(" ", "_")
    stand_in(commands / "scontrol", f"echo 'JobId=7 JobName=r JobState=PENDING Reason={known} Restarts=0'")
    stand_in(commands / "squeue", f"echo '7|PENDING|{reason}|N/A|N/A|'")
    executor = executor_for("slurm")
    for state in (executor.state(run), *executor.states([run])):
        assert (state.reason, (state.waits_for or "").partition(" (")[0]) == (known, means)


def test_a_held_job_has_no_start(commands: Path, run: RunDir) -> None:
    """`scontrol requeuehold` leaves the time to which a requeued job is put back, and nobody starts it then."""
    row = "JobId=7 JobName=r JobState=PENDING Reason={} Restarts=1 StartTime=2026-11-30T22:47:00"
    for reason, has_start in (("BeginTime", True), ("job_requeued_in_held_state", False)):
        stand_in(commands / "scontrol", f"echo '{row.format(reason)}'")
        assert (executor_for("slurm").state(run).started_at is not None) is has_start


def test_a_suspended_job_waits_though_it_has_begun(commands: Path, run: RunDir) -> None:
    stand_in(commands / "scontrol", "echo 'JobId=7 JobName=r JobState=SUSPENDED Reason=None Restarts=0'")
    stand_in(commands / "squeue", "echo '7|SUSPENDED|None|N/A|N/A|node1'")
    executor = executor_for("slurm")
    for state in (executor.state(run), *executor.states([run])):
        assert state.active
        assert (state.waits_for or "").startswith("until it is resumed: it is suspended")


def test_nobody_knows_how_long_a_suspended_job_takes(
    commands: Path, run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands / "scontrol", "echo 'JobId=7 JobName=r JobState=SUSPENDED Reason=None Restarts=0'")
    run.events.write_text('{"event": "step", "step": 3, "total": 9, "loss": 0.5, "eta_s": 90}\n')
    assert execute(["status", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  step        3 of 9" in lines
    assert "  attempts    0, slurm job 7" in lines


def test_who_stops_a_suspended_job_hears_that_it_can_not_save_yet(
    commands: Path, run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(commands / "scontrol", "echo 'JobId=7 JobName=r JobState=SUSPENDED Reason=None Restarts=0'")
    assert execute(["stop", str(run.path)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "r can't stop yet, but waits until it is resumed: it is suspended, for another job or by an administrator",
        "r: asked to save and stop",
    ]
    assert run.stop.exists()


@pytest.mark.parametrize(
    ("word", "helps"),
    [
        ("TIMEOUT", "its time was up before it had saved: launch resume"),
        ("OUT_OF_MEMORY", "memory in the cluster profile"),
    ],
)
def test_a_job_that_slurm_ended_before_it_could_say_so_has_a_remedy(
    commands: Path, run: RunDir, word: str, helps: str
) -> None:
    stand_in(
        commands / "scontrol",
        f"echo 'JobId=7 JobName=r JobState={word} Reason=None Restarts=0 ExitCode=0:15'",
    )
    error = without_result(run, executor_for("slurm").state(run)).error
    assert error is not None
    assert (error.kind, error.message) == ("killed", f"job 7 failed ({word})")
    assert helps in (error.remedy or "")


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("RUNNING", None),
        ("STOPPED", None),
        ("SUSPENDED", None),
        ("RESIZING", None),
        ("SIGNALING", None),
        ("COMPLETING", "cancelled"),
        ("CANCELLED", "cancelled"),
    ],
)
def test_only_what_ends_a_job_is_a_verdict_about_it(commands: Path, word: str, verdict: str | None) -> None:
    """A job is STOPPED after scancel --signal=STOP, and its script goes on: the hang that follows is no cancellation."""
    stand_in(commands / "scontrol", f"echo 'JobId=7 JobName=r JobState={word} Reason=None Restarts=0'")
    assert executor_for("slurm").verdict(Attempt(1, job_id="7")) == verdict


@pytest.mark.parametrize(
    ("at", "verdict"),
    [("None", "cancelled"), ("2026-11-30T11:00:00", "cancelled"), ("2026-11-30T18:52:31", "preempted")],
    ids=["never", "before it started again", "now"],
)
def test_a_job_that_gives_way_for_good_is_not_cancelled(commands: Path, at: str, verdict: str) -> None:
    """As Slurm 22.05 shows a job of a partition with PreemptMode=CANCEL after its grace."""
    times = f"StartTime=2026-11-30T18:51:35 EndTime=2026-11-30T18:52:31 PreemptTime={at}"
    stand_in(
        commands / "scontrol", f"echo 'JobId=7 JobName=r JobState=COMPLETING Reason=None Restarts=0 {times}'"
    )
    assert executor_for("slurm").verdict(Attempt(1, job_id="7")) == verdict


@pytest.mark.parametrize(
    ("said", "ends_by"),
    [
        ("JobState=RUNNING EndTime=2035-01-02T12:00:00", timestamp("2035-01-02T12:00:00")),
        ("JobState=RUNNING EndTime=Unknown", math.inf),
        ("JobState=PENDING EndTime=Unknown", None),
        ("", None),
    ],
)
def test_no_limit_is_not_an_unknown_one(commands: Path, said: str, ends_by: float | None) -> None:
    stand_in(commands / "scontrol", f"echo 'JobId=7 JobName=r {said} Deadline=N/A'")
    assert executor_for("slurm").ends_by("7") == ends_by


def test_a_job_in_a_hidden_partition_is_seen(commands: Path, run: RunDir) -> None:
    """squeue lists such jobs with --all alone, those of the user's own included."""
    listed = time.strftime("%Y-%m-%dT%H:%M:%S")
    stand_in(commands / "squeue", f'[[ " $* " != *" --all "* ]] || echo "7|RUNNING|None|{listed}|N/A|node1"')
    assert executor_for("slurm").states([run])[0].status == "running"
    stand_in(commands / "sinfo", '[[ " $* " != *" --all "* ]] || echo "secret gpu:a100:4"')
    assert executor_for("slurm").gpus_per_node("secret") == 4


def test_a_damaged_neighbour_keeps_no_job_in_the_queue(commands: Path, run: RunDir) -> None:
    neighbour = run.path.parent / "neighbour" / "control"
    neighbour.mkdir(parents=True)
    (neighbour / "jobs").write_text("no job\n")
    stand_in(commands / "scancel", f"echo $* >>{commands}/cancelled")
    run.jobs.unlink()
    leave_the_queue(run, "7")
    assert (commands / "cancelled").read_text() == "--state=PENDING 7\n"


def test_a_trial_that_ends_by_itself_just_before_it_would_be_cancelled_stays_as_it_ended(
    commands: Path, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares its job with others, so that the job goes on, and nobody looks for the request any more."""
    monkeypatch.setattr(slurm_cancelling, "RECORD_TIMEOUT_S", 0.2)
    for name in ("scontrol", "scancel"):
        stand_in(commands / name, "exit 0")
    run.jobs.unlink()
    run.add_job("7_0.1")
    run.attempt(1).path.mkdir(parents=True)
    run.attempt(1).write(Attempt(1, job_id="7_0.1", ended_at=5.0, exit_code=75, next="stay"))
    run.write_result(Result("stopped", job_id="7_0.1"))
    slurm_cancelling.cancel_member(run, JobState("running", "7_0.1"))
    assert not run.cancel.exists()
    assert (run.read_result() or Result("failed")).status == "stopped"


def test_lines_that_a_site_puts_around_what_slurm_says_are_left_out(commands: Path, run: RunDir) -> None:
    """Some clusters have sinfo and squeue as scripts that print news first."""
    state = f"$([ -e {commands}/ended ] && echo CANCELLED || echo PENDING)"
    stand_in(commands / "scancel", f"touch {commands}/ended")
    stand_in(
        commands / "scontrol",
        f"echo JobId=7 JobName=r JobState={state} Reason=None Restarts=0 NodeList=node1",
    )
    stand_in(commands / "sbatch", "true")
    stand_in(commands / "sinfo", "echo 'NOTE: no jobs on 3 December'; echo 'main* up 2 idle (null)'")
    executor = executor_for("slurm")
    executor.cancel(run)
    assert executor.state(run).status == "cancelled"
    said = [remark.text for remark in executor.look()]
    assert "main* (up): 2 nodes idle, no GPUs" in said
    assert not any("NOTE" in text for text in said)
