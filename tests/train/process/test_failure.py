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
from launcher.train import session
from launcher.train.process.failure import LONGEST_MESSAGE, describe_failure
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


def test_a_lost_connection_is_told_without_the_library_s_own_places() -> None:
    said = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:24510"
    error = describe_failure(RuntimeError(said))
    assert error.kind == "network"
    assert (
        error.message == "the connection to another rank was lost: Connection closed by peer [10.0.0.2]:24510"
    )
    assert error.remedy is not None
    assert "another rank or its node ended" in error.remedy
    error = describe_failure(ConnectionResetError(104, "Connection reset by peer"))
    assert error.message == "a connection was lost: [Errno 104] Connection reset by peer"


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


class Wordless(Exception):
    """What somebody's library raises."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def raised(error: BaseException) -> BaseException:
    """The exception as whoever catches it has it, with where it was raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(), "ValueError, without a word, in raised ("),
        (ValueError(" \n"), "ValueError, without a word, in raised ("),
        (ValueError("one\n  two"), "ValueError: one\n  two"),
        (SystemExit(3), "SystemExit: 3"),
        (Wordless(), "Wordless: its words can't be read: __str__ raised ZeroDivisionError"),
        (MemoryError(), "MemoryError"),
        (
            RecursionError("maximum recursion depth exceeded"),
            "RecursionError: maximum recursion depth exceeded",
        ),
        (KeyboardInterrupt(), "KeyboardInterrupt, without a word, in raised ("),
    ],
)
def test_whatever_was_raised_has_a_message(error: BaseException, said: str) -> None:
    assert describe_failure(raised(error)).message.startswith(said)


@pytest.mark.parametrize("error", [ValueError("x" * 10_000_000), MemoryError("x" * 10_000_000)])
def test_a_long_message_is_cut(error: BaseException) -> None:
    assert len(describe_failure(error).message) == LONGEST_MESSAGE


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), ValueError("\udcff \x1b[31m")])
def test_a_rank_records_whatever_ends_it(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a program raises to end itself, and words that aren't UTF-8."""

    def ends(*_: object) -> None:
        raise error

    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    run.attempt(1).path.mkdir()
    monkeypatch.setattr(session, "read_plan", ends)
    monkeypatch.setenv("RANK", "1")  # which has no file of events
    assert run_attempt(run, run.attempt(1), StopFlag(run), Heartbeat()) == 1
    result = run.read_result()
    assert result is not None
    assert result.error is not None
    assert result.error.message.startswith(type(error).__name__)


def test_no_secret_of_the_environment_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(*_: object) -> None:
        raise ValueError(f"401: {os.environ['HF_TOKEN']}")

    monkeypatch.setenv("HF_TOKEN", "a token of mine")
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    run.attempt(1).path.mkdir()
    monkeypatch.setattr(session, "read_plan", ends)
    monkeypatch.setenv("RANK", "1")  # which has no file of events
    run_attempt(run, run.attempt(1), StopFlag(run), Heartbeat())
    assert "a token of mine" not in run.result.read_text() + capsys.readouterr().err
    assert "401: (hidden)" in run.result.read_text()
