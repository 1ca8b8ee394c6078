"""Jobs that never start, are killed or just end: what the command line says of them, and what it leaves behind.

A few shell lines stand in for the training; all else is real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Launch
from support.waiting import wait_until

from launcher.cli.attached import Interrupts
from launcher.cli.progress import make_bar
from launcher.executors import executor_for
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

Start = Callable[..., "subprocess.Popen[str]"]
MakeRun = Callable[..., RunDir]

ENDS = """
printf '{"status": "%s", "steps": 47}' >$run_dir/result.json
printf %s >$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code
"""
STOPS = ENDS % ("stopped", 75)
COMPLETES = ENDS % ("completed", 0)
LASTS = "echo $$ >$run_dir/logs/pid; touch $run_dir/logs/ready; sleep 60"


def script_of(run: RunDir) -> int:
    wait_until((run.logs / "ready").exists, "the training to start")
    return int((run.last_job() or "").removeprefix("local "))


def test_a_job_that_never_starts_is_not_told_by_the_result_of_an_earlier_one(
    launch: Launch, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(STOPS)
    assert "stopped after step 47" in launch("resume", "r", code=75).stderr
    python = tmp_path / "python-r"
    python.rename(tmp_path / "elsewhere")
    said = launch("resume", "r", code=1, env={"HF_TOKEN": "hidden"}).stderr
    assert "r failed" in said
    assert "No such file or directory" in said
    assert "stopped after step" not in said
    assert not run.secrets.exists()
    assert "No such file or directory" in launch("status", "r").stdout
    assert (read_json(run.attempt(1).path / "result.json") or {})["status"] == "stopped"

    (tmp_path / "elsewhere").rename(python)
    launch("resume", "r", code=75)
    assert (read_json(run.attempt(1).path / "result.json") or {})["status"] == "stopped"


def test_an_interrupt_as_the_run_ends_is_too_late(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(COMPLETES)
    executor = executor_for("local")
    executor.start(run)
    wait_until(lambda: not executor.state(run).active, "the end")
    interrupts = Interrupts()
    interrupts.install()
    try:
        signal.raise_signal(signal.SIGINT)
        with make_bar() as bar:
            interrupts.act(executor, run, bar)
    finally:
        interrupts.restore()
    assert capsys.readouterr().err == ""
    assert executor.state(run).status == "completed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_after_the_summary_changes_no_exit_code(number: signal.Signals) -> None:
    code = (
        "import os, sys; from launcher.cli.attached import Session\n"
        "with Session('local', follow=True, as_json=False): pass\n"
        "os.kill(os.getpid(), int(sys.argv[1])); sys.exit(75)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(int(number))], check=False).returncode == 75


def test_whoever_watches_a_killed_job_records_its_end_and_removes_its_keys(
    start: Start, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(LASTS)
    monkeypatch.setenv("HF_TOKEN", "hidden")
    session = start("resume", "r")
    script = script_of(run)
    assert read_json(run.secrets) == {"HF_TOKEN": "hidden"}
    os.kill(script, signal.SIGKILL)
    _, said = session.communicate(timeout=120)
    assert session.returncode == 1
    assert "the job's script was killed by SIGKILL" in said
    assert_tidy(run, "failed")
    assert (read_json(run.result) or {})["error"]["class"] == "killed"


def test_cancelling_a_job_that_died_unseen_tidies_up(
    launch: Launch, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(LASTS)
    monkeypatch.setenv("HF_TOKEN", "hidden")
    executor = executor_for("local")
    executor.start(run)
    os.kill(script_of(run), signal.SIGKILL)
    wait_until(lambda: executor.state(run).status == "unknown", "the script to be gone")
    assert "is not running: it is unknown" in launch("stop", "r", code=2).stderr
    assert "r: cancelled" in launch("cancel", "r").stderr
    assert_tidy(run, "cancelled")
    assert "is not running: it is cancelled" in launch("cancel", "r", code=2).stderr


def assert_tidy(run: RunDir, status: str) -> None:
    """The end is on record, no key is left, and no process of the job's lives on to write into the directory."""
    assert (read_json(run.result) or {})["status"] == status
    assert not run.secrets.exists()
    training = Path("/proc") / (run.logs / "pid").read_text().strip() / "cmdline"
    wait_until(lambda: not training.exists() or training.read_bytes() == b"", "the training to be gone")
