"""What Slurm prints becomes a record; what it leaves out, or writes in another way than ever seen, is not known."""

from __future__ import annotations

import pytest

from launcher.executors.shared.slurm_records import exit_code_of, job_of, timestamp

JOB = (
    "JobId=7 JobName=mine UserId=me(1) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) Requeue=1 Restarts=2 "
    "ExitCode=75:0 StartTime=2026-11-28T12:00:00 EndTime=Unknown ReqNodeList=(null) NodeList=node[1-2] Comment=JobState=X"
)


def test_a_job_is_what_scontrol_says_first() -> None:
    job = job_of(JOB)
    assert (job.word, job.name, job.reason, job.exit_code) == ("FAILED", "mine", "NonZeroExitCode", 75)
    assert (job.nodes, job.restarts, job.ends_by) == ("node[1-2]", 2, None)
    assert job.started_at == timestamp("2026-11-28T12:00:00")
    assert job.started_at is not None


def test_what_is_left_out_is_not_known() -> None:
    job = job_of("JobId=7 JobState=PENDING Reason=None")
    assert (job.reason, job.nodes, job.started_at, job.restarts, job.exit_code) == (None, None, None, 0, 0)
    assert job_of("").word == ""


@pytest.mark.parametrize(
    ("text", "code"), [("0:0", 0), ("75:0", 75), ("0:9", 137), ("", 0), ("1", 1), ("x:y", 0)]
)
def test_exit_codes(text: str, code: int) -> None:
    assert exit_code_of(text) == code


@pytest.mark.parametrize("text", ["", "N/A", "Unknown", "28 Nov 12:00"])
def test_a_time_of_another_form_is_not_known(text: str) -> None:
    assert timestamp(text) is None
