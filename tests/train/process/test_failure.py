"""What the system says when it refuses a file decides what a run is told to do."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from support.plans import new_run, plan_of

from launcher.runs.results import Error
from launcher.train.process.failure import describe_failure
from launcher.train.process.heartbeat import Heartbeat
from launcher.train.process.stop_requests import StopFlag
from launcher.train.session import run_attempt


class Full(io.StringIO):
    """A log on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("said", ["ENOSPC", "EDQUOT", "EFBIG", "EROFS"])
@pytest.mark.fault(17)
def test_a_disk_that_takes_no_more_is_named(said: str) -> None:
    number = getattr(errno, said)
    error = describe_failure(OSError(number, os.strerror(number), "metrics.jsonl"))
    assert error.kind == "disk"
    assert error.remedy is not None
    assert "make it writable" in error.remedy


@pytest.mark.parametrize("said", ["EIO", "ESTALE"])
@pytest.mark.fault(17)
def test_a_disk_that_may_come_back_is_another_cause(said: str) -> None:
    number = getattr(errno, said)
    assert describe_failure(OSError(number, os.strerror(number), "metrics.jsonl")).kind == "storage"


@pytest.mark.fault(17)
def test_a_cause_is_recorded_though_the_log_takes_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the ranks that only lose their connection to this one would be the first to say why."""
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    run.attempt(1).path.mkdir()
    run.plan.unlink()  # so that it fails
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "1")
        patch.setattr(sys, "stderr", Full())
        assert run_attempt(run, run.attempt(1), StopFlag(run), Heartbeat()) == 1
    result = run.read_result()
    assert result is not None
    assert isinstance(result.error, Error)
    assert result.error.rank == 1
    assert "plan.json" in result.error.message
