"""What the system says when it refuses a file decides what a run is told to do."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
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


CLOSED = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:24510"
)
TO_RANK_1 = "where logs/rank_1.log ends with an error of its own, that is the cause; else "


@pytest.mark.parametrize(
    ("error", "world", "message", "remedy"),
    [
        (
            RuntimeError(CLOSED),
            (0, 2, 1, ("node1", "node2")),
            "the connection to rank 1 on node2 broke off",
            f"{TO_RANK_1}the network between node1 and node2 broke",
        ),
        (
            RuntimeError(CLOSED.replace("10.0.0.2", "127.0.0.1")),
            (0, 2, 2, ("here",)),
            "the connection to rank 1 on here broke off",
            f"{TO_RANK_1}the network broke",
        ),
        (
            RuntimeError(CLOSED),
            (5, 8, 4, ("node1", "node2")),
            "the connection to another rank at 10.0.0.2 broke off",
            "where logs/rank_R.log ends with an error of its own",
        ),
        (
            RuntimeError(
                "NCCL error: socketPollConnect: connect to node2<36412> returned Connection refused"
            ),
            (0, 8, 4, ("node1", "node2")),
            "the connection to another rank on node2 could not be made",
            "else the network between node1 and node2 broke, or it is not the one that nodes reach each other by",
        ),
        (
            RuntimeError("NCCL error: socketStartConnect: Connect to node2<36412> failed : No route to host"),
            (0, 2, 1, ("node1", "node2")),
            "the connection to rank 1 on node2 could not be made",
            f"{TO_RANK_1}the network between node1 and node2 broke",
        ),
        (
            torch.distributed.DistNetworkError("The client socket has timed out after 60000ms"),
            (1, 2, 1, ("node1", "node2")),
            "the connection to node1, where ranks meet, gave no answer in time",
            "see whether node1 runs and can be reached from node2",
        ),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            (1, 2, 1, ("node1", "node2")),
            "a connection broke off",
            "logs/rank_1.log says where",
        ),
    ],
)
def test_a_lost_connection_is_told_with_the_rank_at_its_other_end(
    error: Exception,
    world: tuple[int, int, int, tuple[str, ...]],
    message: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In plain words, none of them the library's."""
    rank, world_size, on_node, hosts = world
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    found = describe_failure(error, {each: hosts[each // on_node] for each in range(world_size)})
    assert (found.kind, found.message) == ("network", message)
    assert found.remedy is not None
    assert remedy in found.remedy
    assert found.remedy.endswith("launch resume goes on from the newest checkpoint")


@pytest.mark.parametrize(
    ("said", "message", "remedy"),
    [
        (
            "Error while creating shared memory segment /dev/shm/nccl-3tzqFJ (size 33030528), error: No space left",
            "/dev/shm",
            "--shm-size",
        ),
        ("Call to ibv_reg_mr failed with error Cannot allocate memory", "locked memory", "ulimit -l"),
    ],
)
def test_what_the_machine_gives_nccl_too_little_of_is_named(said: str, message: str, remedy: str) -> None:
    words = "NCCL error in: NCCLUtils.cpp:94, unhandled system error (run with NCCL_DEBUG=INFO for details)"
    error = describe_failure(RuntimeError(f"{words}\nLast error:\n{said}"))
    assert error.kind == "launch"
    assert message in error.message
    assert remedy in (error.remedy or "")


@pytest.mark.parametrize("said", ["EIO", "ESTALE"])
@pytest.mark.fault(17)
def test_a_disk_that_may_come_back_is_another_cause(said: str) -> None:
    number = getattr(errno, said)
    assert describe_failure(OSError(number, os.strerror(number), "metrics.jsonl")).kind == "storage"
    named = describe_failure(OSError(number, os.strerror(number), "/data/train.ids.npy"))
    assert named.remedy == "if it comes again, have the file system of /data/train.ids.npy looked at"


def test_a_loss_of_ones_own_that_fails_is_mended_in_the_run_which_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    path = tmp_path / "r" / "loss.py"
    code = compile(
        "def loss():\n    raise PermissionError(13, 'Permission denied', '/x')\n", str(path), "exec"
    )
    own: dict[str, Any] = {}
    exec(code, own)
    with pytest.raises(PermissionError) as caught:
        own["loss"]()
    error = describe_failure(caught.value)
    assert error.kind == "code"
    traceback = "logs/rank_3.log holds the traceback"
    assert error.remedy == f"mend {path}, then launch resume r --accept-changes; {traceback}"


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
