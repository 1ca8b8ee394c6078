"""The start and the end of an attempt, as the job script sees them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of
from support.stand_ins import stand_in

from launcher import network, node
from launcher.errors import EXIT_UNRECORDED
from launcher.executors import executor_for
from launcher.executors.shared import failures as failure
from launcher.executors.shared.base import JobState
from launcher.executors.shared.outcome import outcome
from launcher.network import PORTS, free_port
from launcher.node import begin, end
from launcher.planning.plan import Plan
from launcher.runs import attempt_plan, endings
from launcher.runs.attempts import Attempt, FailedNode, FailedRank, Gone
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json, write_text
from launcher.runs.records import read_json, tree_of


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return new_run(plan_of({"executor": "slurm", "nodes": 2}, run_dir=tmp_path / "runs" / "r"))


@pytest.fixture
def local(tmp_path: Path) -> RunDir:
    return new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "r"))


def start(run: RunDir, restarts: int = 0) -> int:
    """Begin an attempt of a local job; returns its number."""
    started = begin(run, "local 1", restarts, ["here"])
    assert isinstance(started, node.Start)
    return started.attempt


def step(run: RunDir, attempt: int, number: int) -> None:
    with run.events.open("a") as events:
        events.write(json.dumps({"attempt": attempt, "event": "step", "step": number}) + "\n")


def finish(run: RunDir, attempt: int, code: int, **result: Any) -> None:
    """What the training leaves at its end."""
    write_json(run.result, result)
    write_text(run.attempt(attempt).exit_code, f"{code}\n")


def record(run: RunDir, attempt: int) -> dict[str, Any]:
    return read_json(run.attempt(attempt).record) or {}


def test_an_attempt_is_numbered_recorded_and_gets_a_rendezvous(local: RunDir) -> None:
    started = begin(local, "local 4711", 0, ["here"])
    assert isinstance(started, node.Start)
    assert str(started) == f"1 127.0.0.1 {started.port} - 127.0.0.1"
    assert started.port in PORTS
    written = record(local, 1)
    assert (written["job_id"], written["hosts"], written["executor"]) == ("local 4711", ["here"], "local")
    assert local.last_job() == "local 4711"


def test_attempts_never_share_a_number(local: RunDir) -> None:
    command = [sys.executable, "-m", "launcher.node", "begin", str(local.path)]
    environment = {**os.environ, "LAUNCHER_JOB": "local 1"}
    several = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    numbers = [process.communicate()[0].split()[0] for process in several]
    assert sorted(numbers) == ["1", "2", "3", "4"]


def test_it_starts_without_anything_but_the_standard_library() -> None:
    code = "import sys, launcher.node; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(node.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr


def test_a_completed_run_is_not_started_again(local: RunDir) -> None:
    finish(local, start(local), 0, status="completed")
    assert end(local, local.attempt(1), 0) == (0, "stay")
    assert begin(local, "local 2", 0, ["here"]) == "completed"
    assert local.attempt_numbers() == [1]


def test_a_cancelled_job_does_not_start(local: RunDir) -> None:
    local.cancel.touch()
    assert begin(local, "local 2", 0, ["here"]) == "cancelled"
    assert (read_json(local.result) or {})["status"] == "cancelled"
    assert start(local) == 1


def test_the_result_of_an_earlier_attempt_moves_out_of_the_way(local: RunDir) -> None:
    finish(local, start(local), 75, status="stopped", steps=3)
    end(local, local.attempt(1), 0)
    assert start(local) == 2
    assert not local.result.exists()
    assert read_json(local.attempt(1).path / "result.json") == {"status": "stopped", "steps": 3}


def test_an_attempt_that_could_not_record_its_end_is_marked_by_the_next(local: RunDir) -> None:
    step(local, start(local), 7)
    start(local, restarts=1)
    assert (record(local, 1)["status"], record(local, 1)["ended_at"], record(local, 1)["last_step"]) == (
        "interrupted",
        None,
        7,
    )


@pytest.mark.parametrize(("text", "kept"), [("user", True), ("signal", False), ("wandb", True)])
def test_what_somebody_asked_for_holds_for_a_job_that_starts(local: RunDir, text: str, kept: bool) -> None:
    """By `launch stop` or by the button of W&B, which is heeded once: the scheduler put the job back meanwhile."""
    local.stop.write_text(text)
    start(local)
    assert local.stop.exists() is kept


@pytest.mark.parametrize(
    ("stop", "requeue", "progress", "again"),
    [
        ("signal", True, True, True),
        (None, True, True, True),
        ("user", True, True, False),
        ("wandb", True, True, False),
        ("signal", False, True, False),
        ("signal", True, False, False),
    ],
)
def test_a_stop_goes_back_to_the_queue_only_if_the_scheduler_wanted_it(
    tmp_path: Path, stop: str | None, requeue: bool, progress: bool, again: bool
) -> None:
    plan = plan_of({"executor": "slurm", "requeue": requeue}, run_dir=tmp_path / "r")
    run = new_run(plan)
    for number in (1, 2):
        start(run)
        if progress:
            step(run, number, number)
    write_json(run.secrets, {"HF_TOKEN": "x"})
    if stop is not None:
        run.stop.write_text(stop)
    finish(run, 2, 75, status="stopped")
    assert end(run, run.attempt(2), 0) == (75, "requeue" if again else "stay")
    assert run.secrets.exists() is again
    assert not run.stop.exists()
    assert record(run, 2)["stop"] == stop


def test_the_exit_code_is_the_one_that_the_training_wrote(local: RunDir) -> None:
    finish(local, start(local), 75, status="stopped")
    assert end(local, local.attempt(1), 1) == (75, "stay")
    assert (record(local, 1)["exit_code"], record(local, 1)["process_code"]) == (75, 1)


def test_cancelling_beats_what_the_training_wrote_but_not_completion(local: RunDir) -> None:
    finish(local, start(local), 75, status="stopped")
    local.cancel.touch()
    assert end(local, local.attempt(1), 137) == (1, "stay")
    assert (read_json(local.result) or {})["status"] == "cancelled"
    assert not local.cancel.exists()

    finish(local, start(local), 0, status="completed")
    local.cancel.touch()
    assert end(local, local.attempt(2), 137) == (0, "stay")
    assert (read_json(local.result) or {})["status"] == "completed"


def test_the_best_model_of_a_killed_run_is_the_one_in_its_directory(local: RunDir) -> None:
    start(local)
    values = {10: 0.9, 20: 0.6, 30: 0.8, 40: 0.8}
    rows = [{"step": step, "split": "validation", "eval/accuracy": value} for step, value in values.items()]
    local.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 50, "spl')

    def best() -> object:
        end(local, local.attempt(1), 137)
        return (read_json(local.result) or {})["best"]

    assert best() is None
    local.model.mkdir()
    (local.model / "config.json").write_text("{}")
    assert best() == {"metric": "accuracy", "value": 0.9, "step": 10}

    # Weights were still being pruned in step 10, so its model was not kept.
    events = [{"event": "eval", "step": step, "best": step in (20, 30)} for step in values]
    local.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert best() == {"metric": "accuracy", "value": 0.8, "step": 30}


def test_a_crash_without_a_word_is_told_from_the_ranks_log(local: RunDir) -> None:
    attempt = start(local)
    step(local, attempt, 12)
    local.rank_log(0).write_text(
        "Traceback (most recent call last):\n  ...\nImportError: no module named flash\n"
    )
    assert end(local, local.attempt(1), 1) == (1, "stay")
    result = read_json(local.result) or {}
    assert (result["status"], result["steps"], result["attempts"]) == ("failed", 12, 1)
    error = result["error"]
    assert (error["class"], error["rank"], error["host"], error["step"]) == ("crashed", 0, "here", 12)
    assert error["message"].startswith("rank 0 ended with code 1\n")
    assert error["message"].endswith("ImportError: no module named flash")
    assert "launch resume r" in error["remedy"]


@pytest.mark.parametrize("code", [137, -9])
def test_a_killed_process_points_at_memory(local: RunDir, code: int) -> None:
    start(local)
    end(local, local.attempt(1), code)
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["message"]) == ("killed", "rank 0 was killed by SIGKILL")
    assert "memory" in error["remedy"]


@pytest.mark.parametrize(
    ("for_memory", "phase", "kind", "words", "remedy"),
    [
        (
            True,
            "step",
            "memory",
            "the kernel ended it for want of memory; it held 3.0 GiB",
            "lower batch.micro",
        ),
        (True, "loading", "killed", "the kernel ended it for want of memory", "ask for more memory"),
        (False, "step", "killed", "not for want of memory, as far as the kernel counts", "somebody, a limit"),
        (None, "step", "killed", "from outside", "often the node ran out of memory"),
    ],
)
def test_a_kill_is_told_from_one_for_want_of_memory(
    local: RunDir, for_memory: bool | None, phase: str, kind: str, words: str, remedy: str
) -> None:
    """Only memory that is used for computing gets less with smaller micro-batches."""
    start(local)
    local.attempt(1).write_gone(Gone(0, 0, phase, 3 << 30, 4 << 30, for_memory))
    code, going = end(local, local.attempt(1), -9)
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], code, going) == (kind, 1, "again" if kind == "memory" else "stay")
    assert words in error["message"]
    assert "its node or job may use 4.0 GiB" in error["message"]
    assert remedy in error["remedy"]


def test_where_no_micro_batch_is_smaller_other_things_help(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "local", "batch": {"micro": 1}}, run_dir=tmp_path / "runs" / "r"))
    start(run)
    run.attempt(1).write_gone(Gone(0, 0, "step", 3 << 30, 4 << 30, for_memory=True))
    assert end(run, run.attempt(1), -9) == (1, "stay")
    error = (read_json(run.result) or {})["error"]
    assert error["class"] == "memory"
    assert error["message"].endswith("micro-batches are of one example already: none are smaller")
    assert "batch.micro" not in error["remedy"]
    assert error["remedy"].startswith("lower data.max_length")


CRASHED = """\
step 3
free(): invalid pointer
Fatal Python error: Aborted

Thread 0x00007f8455b146c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f6c2f241b80 (most recent call first):
  File "/env/lib/python3.11/site-packages/torch/nn/functional.py", line 2910 in linear
  File "{run}/loss.py", line 7 in loss

Extension modules: numpy._core._multiarray_umath, torch._C (total: 2)
"""


def test_native_code_that_crashed_is_told_with_where_python_stood(local: RunDir) -> None:
    step(local, start(local), 3)
    local.rank_log(0).write_text(CRASHED.format(run=local.path))
    assert end(local, local.attempt(1), 134) == (1, "stay")
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["rank"], error["step"]) == ("crashed", 0, 3)
    assert error["message"].splitlines() == [
        "rank 0 was killed by SIGABRT: native code gave up",
        "free(): invalid pointer",
        "  in linear, torch/nn/functional.py:2910",
        "  from loss, loss.py:7",
    ]
    assert error["remedy"].startswith("try LAUNCH_COMPAT=off launch resume r, then another version of torch")
    assert error["remedy"].endswith("at the end of logs/rank_0.log")


def test_a_killed_torchrun_is_not_blamed_on_a_rank(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "local", "gpus": 2}, run_dir=tmp_path / "runs" / "r"))
    start(run)
    end(run, run.attempt(1), 137)
    error = (read_json(run.result) or {})["error"]
    assert (error["class"], error["rank"], error["host"]) == ("killed", None, "here")
    assert error["message"] == "torchrun was killed by SIGKILL"


def fail(run: RunDir, *failed: tuple[int, int, int, float], attempt: int = 1) -> None:
    """What torchrun leaves on each node: (node, rank, exit code, when it was seen)."""
    for node_ in {node_ for node_, *_ in failed}:
        ranks = [FailedRank(rank, code, seen_at) for on, rank, code, seen_at in failed if on == node_]
        run.attempt(attempt).write_failed_node(node_, FailedNode(tuple(ranks)))


def examine(run: RunDir, *failed: tuple[int, int, int, float]) -> dict[str, Any]:
    begun = Attempt(1, hosts=("node1", "node2"), executor="slurm", job_id="12", started_at=0.0)
    run.attempt(1).path.mkdir()
    fail(run, *failed)
    return tree_of(failure.examine(run, run.attempt(1), begun, 1))


def test_the_first_rank_to_fail_is_the_cause(run: RunDir) -> None:
    run.rank_log(3).write_text("ValueError: the cause\n")
    run.rank_log(0).write_text("RuntimeError: Connection closed by peer\n")
    error = examine(run, (0, 0, 1, 44.0), (1, 3, 1, 43.0))
    assert (error["class"], error["rank"], error["host"]) == ("crashed", 3, "node2")
    assert error["message"] == "rank 3 ended with code 1\nValueError: the cause"


def test_a_killed_rank_is_the_cause_even_where_its_echo_was_seen_first(run: RunDir) -> None:
    error = examine(run, (0, 0, 1, 41.0), (0, 1, -15, 41.0), (1, 2, -9, 42.0))
    assert (error["class"], error["rank"], error["host"]) == ("killed", 2, "node2")


def test_a_rank_that_torchrun_had_to_kill_in_the_end_is_not_the_cause(run: RunDir) -> None:
    error = examine(run, (0, 0, 1, 41.0), (0, 1, -9, 341.0))
    assert (error["class"], error["rank"], error["host"]) == ("crashed", 0, "node1")


def test_what_a_rank_prints_is_no_report_of_torchruns(local: RunDir) -> None:
    start(local)
    report = (
        "Root Cause (first observed failure):\n[0]:\n  time      : 2026-11-21_02:28:42\n"
        "  host      : localhost\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 23664)\n"
    )
    local.job_log("local").write_text(report)
    end(local, local.attempt(1), 1)
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["rank"]) == ("crashed", 0)


def test_the_echo_that_another_rank_recorded_gives_way_to_the_kill(local: RunDir) -> None:
    start(local)
    fail(local, (0, 1, -9, 40.0))
    finish(
        local,
        1,
        1,
        status="failed",
        steps=4,
        error={"class": "crashed", "rank": 0, "message": "connection lost"},
    )
    assert end(local, local.attempt(1), 1) == (1, "stay")
    result = read_json(local.result) or {}
    assert (result["steps"], result["error"]["class"], result["error"]["rank"]) == (4, "killed", 1)


@pytest.mark.parametrize(
    ("failed", "gone", "code"), [([(0, 0, 1, 41.0), (0, 1, 7, 41.0)], 0, 7), ([(0, 0, 1, 41.0)], 1, 0)]
)
def test_an_echo_gives_way_to_a_rank_that_left_without_a_word(
    local: RunDir, failed: list[tuple[int, int, int, float]], gone: int, code: int
) -> None:
    """It called _exit, whose code is any; with 0, torchrun takes it for done."""
    start(local)
    fail(local, *failed)
    local.attempt(1).write_gone(Gone(gone, 0, "step"))
    echo = {"class": "network", "rank": 0, "message": "RuntimeError: Connection closed by peer"}
    finish(local, 1, 1, status="failed", steps=4, error=echo)
    assert end(local, local.attempt(1), 1) == (1, "stay")
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["rank"]) == ("crashed", 1)
    assert f"rank 1 ended with code {code}" in error["message"]


def test_what_several_ranks_say_of_a_lost_connection_is_believed(local: RunDir) -> None:
    start(local)
    fail(local, (0, 0, 1, 41.0), (0, 1, 1, 41.0))
    local.attempt(1).write_gone(Gone(1, 0, "step"))
    echo = {"class": "network", "rank": 0, "message": "RuntimeError: Connection closed by peer"}
    finish(local, 1, 1, status="failed", steps=4, error=echo)
    assert end(local, local.attempt(1), 1) == (1, "again")
    assert (read_json(local.result) or {})["error"]["class"] == "network"


def test_a_rank_that_a_library_aborts_since_another_failed_is_not_the_cause(run: RunDir) -> None:
    """NCCL does so, seconds later; one that aborts first is the cause."""
    error = examine(run, (0, 0, 1, 41.0), (1, 2, -6, 43.0))
    assert (error["class"], error["rank"]) == ("crashed", 0)
    fail(run, (0, 0, 1, 43.0), (1, 2, -6, 43.0))
    assert tree_of(failure.examine(run, run.attempt(1), Attempt(1, hosts=("a", "b")), 1))["rank"] == 2


def test_no_secret_and_no_command_of_a_terminal_is_told(
    local: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one of the job's own variables nor one that came by a file; the words stand in the rank's log."""
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    start(local)
    local.secrets.write_text(json.dumps({"HF_TOKEN": "a token of mine"}))
    local.rank_log(0).write_text(
        "401 for 0123456789abcdef0123 and a token of mine at https://me:word@here/ \x1b]0;owned\x07\n"
    )
    end(local, local.attempt(1), 1)
    message = (read_json(local.result) or {})["error"]["message"]
    assert message.startswith(
        "rank 0 ended with code 1\n401 for (hidden) and (hidden) at https://(hidden)@here/"
    )
    said = capsys.readouterr().err
    assert "(hidden)" in said
    assert "\x1b" not in said


@pytest.mark.fault(17)
def test_an_echo_on_a_full_disk_is_the_disks_doing(local: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank that the disk refused had no room for its own words; another recorded that it was gone."""
    monkeypatch.setattr(failure, "FULL_BELOW", 1 << 60)  # any disk is full then
    start(local)
    fail(local, (0, 1, 1, 40.0))
    echo = {"class": "network", "rank": 0, "message": "RuntimeError: Connection closed by peer"}
    finish(local, 1, 1, status="failed", steps=4, error=echo)
    assert end(local, local.attempt(1), 1) == (1, "stay")
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["rank"]) == ("disk", 1)
    assert "free space" in error["remedy"]


@pytest.mark.fault(17)
def test_a_rank_that_could_record_nothing_says_so_by_its_exit_code(local: RunDir) -> None:
    """The disk takes writes again by the time that the job's script records the end."""
    start(local)
    fail(local, (0, 1, EXIT_UNRECORDED, 40.0), (0, 0, 1, 39.0))
    echo = {"class": "network", "rank": 0, "message": "RuntimeError: Connection closed by peer"}
    finish(local, 1, 1, status="failed", steps=4, error=echo)
    assert end(local, local.attempt(1), 1) == (1, "again")
    error = (read_json(local.result) or {})["error"]
    assert (error["class"], error["rank"]) == ("storage", 1)
    assert f"the disk of {local.path} took no writes" in error["message"]


WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from launcher.runs.attempts import Gone
from launcher.runs.directory import RunDir
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
RunDir(Path(sys.argv[1])).attempt(1).write_gone(Gone(0, 0, "step"))
"""


@pytest.mark.fault(17)
def test_a_watcher_that_finds_no_room_leaves_nothing_that_the_end_would_trip_over(local: RunDir) -> None:
    attempt = local.attempt(start(local))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOM, str(local.path)], capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stderr
    assert [path.name for path in attempt.path.iterdir() if "gone" in path.name] == []
    attempt.write_gone(Gone(0, 0, "step"))
    with pytest.raises(FileExistsError):
        attempt.write_gone(Gone(1, 0, "save"))
    assert attempt.read_gone() == Gone(0, 0, "step")
    assert [path.name for path in attempt.path.iterdir() if "gone" in path.name] == ["gone.json"]


@pytest.mark.fault(17)
@pytest.mark.parametrize("words", [("begin",), ("end", "1", "1")])
def test_a_script_whose_log_is_on_the_disk_that_takes_no_more_says_so_too(
    local: RunDir, words: tuple[str, ...]
) -> None:
    start(local)
    verb, *rest = words
    command = [sys.executable, "-m", "launcher.node", verb, str(local.path), *rest]
    with Path("/dev/full").open("w") as log:
        done = subprocess.run(
            ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command],
            env={**os.environ, "LAUNCHER_JOB": "local 1"},
            stdout=subprocess.PIPE,
            stderr=log,
            check=False,
        )
    assert (done.returncode, done.stdout) == (EXIT_UNRECORDED, b"")


@pytest.mark.fault(17)
@pytest.mark.parametrize("words", [("begin",), ("end", "1", "1")])
def test_a_script_that_can_record_nothing_says_so_by_its_exit_code(
    local: RunDir, words: tuple[str, ...]
) -> None:
    start(local)
    verb, *rest = words
    command = [sys.executable, "-m", "launcher.node", verb, str(local.path), *rest]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command],
        env={**os.environ, "LAUNCHER_JOB": "local 1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_UNRECORDED, done.stderr
    assert done.stderr.startswith(
        f"{verb}: {local.path} takes no writes: [Errno 27] File too large: '{local.path}/"
    )
    assert not local.result.exists()
    job = JobState("failed", "7", exit_code=EXIT_UNRECORDED)
    error = outcome(local, "7", job).error
    assert error is not None
    assert error.kind == "storage"


def test_a_failure_with_a_class_of_its_own_stands(local: RunDir) -> None:
    start(local)
    fail(local, (0, 1, -9, 40.0))
    finish(local, 1, 1, status="failed", error={"class": "data", "rank": 0, "message": "row 7"})
    end(local, local.attempt(1), 1)
    assert (read_json(local.result) or {})["error"]["class"] == "data"


def test_the_ranks_that_failed_in_an_earlier_attempt_are_its_own(local: RunDir) -> None:
    start(local)
    fail(local, (0, 1, -9, 40.0))
    start(local)
    end(local, local.attempt(2), 1)
    assert (read_json(local.result) or {})["error"]["class"] == "crashed"


def test_a_port_that_another_job_took_at_the_same_moment_is_tried_again(run: RunDir) -> None:
    begun = Attempt(1, hosts=("node1", "node2"), executor="slurm", job_id="12", started_at=0.0)
    run.attempt(1).path.mkdir()
    told = "The server socket has failed to listen: port: 22902, code: -98, name: EADDRINUSE\n"
    run.job_log("12").write_text(f"{told}srun: error: node1: task 0: Exited with exit code 1\n")
    error = failure.examine(run, run.attempt(1), begun, 1)
    assert (error.kind, error.host) == ("network", "node1")
    assert error.message == "the port on which ranks meet was taken by another job at the same moment"


def test_the_last_words_are_those_of_the_training_whatever_srun_says_after_them(run: RunDir) -> None:
    begun = Attempt(1, hosts=("node1", "node2"), executor="slurm", job_id="12", started_at=0.0)
    run.attempt(1).path.mkdir()
    ends = ["srun: error: node2: task 1: Killed", "srun: launch/slurm: _step_signal: Terminating StepId=7.1"]
    ends += ["srun: error: node1: task 0: Terminated", "srun: Force Terminated StepId=7.1"]
    run.job_log("12").write_text("\n".join(["1: the last words", *ends]))
    error = failure.examine(run, run.attempt(1), begun, 143)
    assert (error.host, error.message) == ("node2", "training was killed by SIGTERM\nthe last words")
    run.job_log("12").write_text("\n".join(ends))
    assert "node2: task 1: Killed" in failure.examine(run, run.attempt(1), begun, 143).message


@pytest.mark.fault(24)
def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        first = free_port(123)
        taken.bind(("", first))
        taken.listen()
        second = free_port(123)
        assert second != first
        assert second not in [free_port(123 + neighbour) for neighbour in range(1, 100)], (
            "no two jobs meet there"
        )
    assert free_port(7) == free_port(7 + len(PORTS))


def test_names_that_resolve_are_used_as_they_are() -> None:
    assert executor_for("slurm").addresses(["localhost", "whatever"]) == ("localhost", "whatever")


def test_a_host_that_has_ipv6_alone_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.resolve("::1") == "::1"
    monkeypatch.setattr(socket, "gethostname", lambda: "::1")
    assert network.gloo_interface(["::1", "::1"]) == "lo"
    monkeypatch.setattr(socket, "gethostname", lambda: "2001:db8::1")
    assert network.gloo_interface(["2001:db8::1", "2001:db8::2"]) is None


def test_gloo_is_told_an_interface_only_where_it_would_choose_wrongly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "127.0.1.1")  # as Debian's /etc/hosts has it
    assert network.gloo_interface(["127.0.1.1", "127.0.1.2"]) == "lo"
    monkeypatch.setattr(socket, "gethostname", lambda: "192.0.2.1")
    assert network.gloo_interface(["192.0.2.1", "192.0.2.2"]) is None


@pytest.mark.fault(23)
def test_out_of_memory_goes_again_with_half_the_micro_batch_until_it_is_one(tmp_path: Path) -> None:
    small = {"executor": "local", "batch": {"global": 16, "micro": 5, "tokens": 3000}}
    run = new_run(plan_of(small, run_dir=tmp_path / "r"))
    going, layouts = "again", []
    while going == "again":
        attempt = run.attempt(start(run))
        layouts.append((read_json(attempt.plan) or run.plan_tree())["layout"])
        finish(run, attempt.number, 1, status="failed", error={"class": "memory"})
        code, going = end(run, attempt, 1)
        assert code == 1
    assert [layout["micro_batch_size"] for layout in layouts] == [5, 2, 1]
    assert [layout["gradient_accumulation_steps"] for layout in layouts] == [4, 8, 16]
    assert [layout["max_tokens"] for layout in layouts] == [3000, 1500, 750]
    assert {layout["global_batch_size"] for layout in layouts} == {16}
    last = read_json(run.attempt(3).plan) or {}
    assert last["notes"][-1] == "attempt 2 ran out of memory: micro-batches of 1 example instead of 2"
    assert Plan.model_validate_json(json.dumps(last)).memory.total is None
    assert (read_json(run.result) or {})["error"]["class"] == "memory"

    # What was found out holds for later attempts, whatever ended the one before.
    finish(run, start(run), 75, status="stopped")
    start(run)
    assert (read_json(run.attempt(5).plan) or {})["layout"] == layouts[-1]


def test_an_attempt_on_fewer_nodes_has_the_same_batch_and_one_on_all_keeps_what_was_found_out(
    tmp_path: Path,
) -> None:
    ranged = {"executor": "slurm", "nodes": "2..4", "batch": {"global": 16, "micro": 4}}
    run = new_run(plan_of(ranged, run_dir=tmp_path / "r"))

    def layout(nodes: int) -> tuple[int, int, int]:
        """(examples of a rank, of its micro-batches, how many of these) of another attempt on so many nodes."""
        attempt = run.attempt(start(run))
        if nodes < 4:
            write_json(attempt.plan, attempt_plan.on_nodes(attempt_plan.plan_tree_of(run, attempt), nodes))
        plan = Plan.model_validate_json(json.dumps(attempt_plan.plan_tree_of(run, attempt)))
        assert (plan.layout.global_batch_size, plan.world_size) == (16, nodes)
        return (
            plan.layout.examples_per_rank,
            plan.layout.micro_batch_size,
            plan.layout.gradient_accumulation_steps,
        )

    assert layout(4) == (4, 4, 1)
    assert layout(3) == (6, 4, 2)
    assert layout(4) == (4, 4, 1)
    assert not run.attempt(3).plan.exists()
    assert layout(2) == (8, 4, 2)
    finish(run, 4, 1, status="failed", error={"class": "memory"})
    assert end(run, run.attempt(4), 1) == (1, "again")
    assert layout(4) == (4, 2, 2)
    assert layout(3) == (6, 2, 3)


def test_a_kill_that_is_on_record_already_stays_there(local: RunDir) -> None:
    start(local)
    endings.cancelled(local)
    assert end(local, local.attempt(1), 137) == (1, "stay")
    assert (read_json(local.result) or {})["status"] == "cancelled"


@pytest.mark.parametrize("request_", ["stop", "cancel"])
def test_nothing_goes_again_that_was_to_stop(local: RunDir, request_: str) -> None:
    finish(local, start(local), 1, status="failed", error={"class": "memory"})
    getattr(local, request_).write_text("user")
    assert end(local, local.attempt(1), 1) == (1, "stay")


@pytest.mark.fault(6)
def test_a_time_limit_too_short_for_a_step_is_named_after_the_second_time(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "slurm", "nodes": 1, "time": "1"}, run_dir=tmp_path / "runs" / "r"))
    for number, expected in ((1, (75, "requeue")), (2, (1, "stay"))):
        begin(run, "12", number - 1, ["localhost"])
        begun = run.attempt(number).read()
        run.attempt(number).write(replace(begun, up_s=(begun.up_s or 0) - 50))
        write_text(run.stop, "signal")
        finish(run, number, 75, status="stopped")
        assert end(run, run.attempt(number), 0) == expected
    error = (read_json(run.result) or {})["error"]
    assert error["class"] == "time-limit"
    assert error["message"].startswith("the time limit of 1 min 00 s ended two attempts")
    assert "time=3" in error["remedy"]


@pytest.mark.fault(6)
def test_a_run_that_is_not_to_go_on_hears_of_its_short_time_limit_at_once(tmp_path: Path) -> None:
    recipe = {"executor": "slurm", "nodes": 1, "time": "1", "requeue": False}
    run = new_run(plan_of(recipe, run_dir=tmp_path / "runs" / "r"))
    begin(run, "12", 0, ["localhost"])
    run.attempt(1).write(replace(run.attempt(1).read(), up_s=time.monotonic() - 50))
    write_text(run.stop, "signal")
    finish(run, 1, 75, status="stopped")
    assert end(run, run.attempt(1), 0) == (1, "stay")
    error = (read_json(run.result) or {})["error"]
    assert (error["class"], "ended an attempt before its first step" in error["message"]) == (
        "time-limit",
        True,
    )


def test_a_site_that_puts_no_job_back_still_has_its_runs_go_on(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "slurm"}, {"requeue": False}, run_dir=tmp_path / "runs" / "r"))
    assert "#SBATCH --no-requeue" in run.job_sbatch.read_text()
    begin(run, "13", 0, ["localhost"], chain="12")
    assert run.attempt(1).read().chain == "12"
    write_text(run.stop, "signal")
    finish(run, 1, 75, status="stopped")
    assert end(run, run.attempt(1), 0) == (75, "requeue")
    node.main(["succeeded", str(run.path), "14"])
    assert run.last_job() == "14"


def test_a_job_whose_node_was_lost_has_failed(run: RunDir, commands: Path) -> None:
    """Slurm kills what is left of it, as it does with a cancelled one; only its reason is another."""
    stand_in(commands / "scontrol", "echo JobId=7 JobState=COMPLETING Reason=NodeDown Restarts=0")
    assert isinstance(begin(run, "7", 0, ["localhost"]), node.Start)
    assert end(run, run.attempt(1), 137) == (1, "stay")
    result = read_json(run.result) or {}
    assert (result["status"], result["error"]["class"]) == ("failed", "node")
    assert "launch resume r" in result["error"]["remedy"]


@pytest.mark.fault(8)
@pytest.mark.parametrize("saved", [True, False])
def test_a_job_that_gave_way_for_good_is_not_recorded_as_cancelled(
    run: RunDir, commands: Path, saved: bool
) -> None:
    """The grace was over while it saved: Slurm has ended the job, and does not put it back."""
    times = "StartTime=2026-11-30T18:51:35 PreemptTime=2026-11-30T18:52:31"
    said = f"JobId=7 JobState=COMPLETING Reason=None Restarts=0 ExitCode=0:0 {times}"
    stand_in(commands / "scontrol", f"echo {said}")
    begin(run, "7", 0, ["localhost"])
    write_text(run.stop, "signal")
    if saved:
        finish(run, 1, 75, status="stopped")
    assert end(run, run.attempt(1), 143) == ((75, "stay") if saved else (1, "stay"))
    result = read_json(run.result) or {}
    assert result["status"] == ("stopped" if saved else "failed")
    assert saved or result["error"]["message"].startswith("the scheduler ended the job for another one")
