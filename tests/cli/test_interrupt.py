"""Stopping, killing and resuming a run on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Launch
from support.waiting import wait_until

from launcher.cli import execute, train_process
from launcher.errors import UserError
from launcher.planning import prepare
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json
from launcher.start_up import Interrupted
from launcher.sweeps import sweep

Start = Callable[..., "subprocess.Popen[str]"]
Trains = Callable[..., RunDir]
NOTHING = "nothing was started; the same command begins again"
LONG = ("train.max_steps=100000", "eval.every=null", "checkpoint.every=null")


def test_stop_resume_and_kill(
    start: Start,
    launch: Launch,
    trains: Trains,
    slow_steps: tuple[str, str],
    tiny: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """One run through all of it, since each start of a run costs seconds of imports."""
    first = start(*tiny, *slow_steps, *LONG, "run_id=r")
    run = trains(tmp_path / "runs")
    second = launch("resume", "r", code=2)
    assert "already has a job" in second.stderr

    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=120)
    assert (first.returncode, out) == (75, "r\n"), err
    assert "press Ctrl-C again to kill it" in err
    assert "r has saved its state and stopped after step" in err
    result = read_json(run.result)
    assert result is not None
    assert result["status"] == "stopped"
    stopped_at = result["steps"]

    resumed = start("resume", "r", "--json")
    trains(tmp_path / "runs", 2)
    state = json.loads(launch("status", "r", "--json").stdout)
    assert state["status"] == "running"
    assert state["step"] > stopped_at
    assert state["eta_s"] > 0
    stop = launch("stop", "r", "--wait", "--json")
    assert json.loads(stop.stdout) == {"run_id": "r", "status": "stopped"}
    out, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 75
    assert json.loads(out)["result"]["attempts"] == 2

    killed = start("resume", "r")
    trains(tmp_path / "runs", 3)
    launch("cancel", "r")
    out, err = killed.communicate(timeout=120)
    assert killed.returncode == 1
    assert "r was cancelled" in err
    assert "launch resume r" in err

    left = start("resume", "r")
    trains(tmp_path / "runs", 4)
    left.send_signal(signal.SIGHUP)
    _, err = left.communicate(timeout=120)
    assert left.returncode == 129
    assert "r goes on without you" in err
    assert json.loads(launch("status", "r", "--json").stdout)["status"] == "running"
    launch("cancel", "r")

    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.long
def test_a_second_interrupt_kills(
    start: Start, trains: Trains, slow_steps: tuple[str, str], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    process = start(*tiny, *slow_steps, *LONG, "run_id=r")
    run = trains(tmp_path / "runs")
    # A rank that is halted can't save: only the second signal ends this run.
    ranks = _ranks(run)
    for pid in ranks:
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "press Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 1
    result = read_json(run.result)
    assert result is not None
    assert result["status"] == "cancelled"
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def _ranks(run: RunDir) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"launcher.train {run.path}"], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_verb_that_is_ended_leaves_no_file_and_no_process(
    number: signal.Signals,
    code: int,
    said: str,
    start: Start,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("data", *tiny, "--json")
    child = _child(process.pid)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err.splitlines()[-1]) == (code, f"launch: {said}")
    assert "Traceback" not in err
    assert json.loads(out)["error"] == {"class": "interrupted", "message": said, "remedy": None}
    wait_until(lambda: not _is_alive(child), "the end of the verb's process")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_the_start_says_that_nothing_was_started(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGINT)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare, "check", planned)
    monkeypatch.setattr(sweep, "plan_sweep", planned)
    for words in (("sweep", *tiny, "seed=1,2"), ("run", *tiny)):
        assert execute([*words, "--json"]) == 130
        told = capsys.readouterr()
        assert told.err.splitlines()[-2:] == ["launch: interrupted", f"    -> {NOTHING}"]
        assert json.loads(told.out)["error"]["remedy"] == NOTHING
    assert not list(tmp_path.iterdir())


def test_many_verbs_end_with_their_command(start: Start, make_run: Callable[..., RunDir]) -> None:
    for name in ("one", "two"):
        make_run(run_id=name).metrics.write_text("")
    process = start("sync", "one", "two", "--follow")
    child = _child(process.pid)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.strip().splitlines()[-1]) == (143, "launch: ended by SIGTERM")
    wait_until(lambda: not _is_alive(child), "the end of the verb's process")


def test_what_all_runs_have_in_common_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_run: Callable[..., RunDir],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of 200 runs that wait to be sent, none has a key."""
    errors = {"one": "no key", "two": "damaged", "three": "no key", "four": "no key"}
    runs = [make_run(run_id=name) for name in errors]
    monkeypatch.setattr(
        train_process, "run_many", lambda *_: ([], {name: UserError(text) for name, text in errors.items()})
    )
    monkeypatch.chdir(tmp_path)
    assert execute(["sync", *(str(run.path) for run in runs)]) == 2
    assert capsys.readouterr().err.splitlines() == ["one and 2 more: no key", "two: damaged"]


def test_threads_of_a_verb_that_wait_leave_the_cores_to_others(start: Start, tiny: tuple[str, ...]) -> None:
    """Where other work shares the cores, waiting took three times the processor time of evaluating."""
    process = start("data", *tiny)
    environ = Path(f"/proc/{_child(process.pid)}/environ")
    wait_until(lambda: b"GOMP_SPINCOUNT=10000" in environ.read_bytes(), "the verb's environment")


def test_the_process_of_a_verb_dies_with_the_command(start: Start, tiny: tuple[str, ...]) -> None:
    process = start("data", *tiny)
    child = _child(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not _is_alive(child), "the end of the verb's process")


def _child(pid: int) -> int:
    """The process that a command has started."""
    tasks = Path(f"/proc/{pid}/task")
    found: list[str] = []

    def has_one() -> bool:
        found[:] = [word for path in tasks.glob("*/children") for word in path.read_text().split()]
        return bool(found)

    wait_until(has_one, "a process of the verb's")
    return int(found[0])


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
