"""`launch clean`: what it shows, what it deletes, and what it never touches."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Launch
from support.waiting import wait_until

from launcher.cli.cleaning import delete, leftovers
from launcher.errors import UserError
from launcher.executors import executor_for
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

MakeRun = Callable[..., RunDir]
LASTS = "touch $run_dir/logs/ready; sleep 60"


def ended(run: RunDir, status: str, days_ago: float = 0.0) -> RunDir:
    """A run with a result of so long ago, and a checkpoint."""
    run.add_job("local 999999999")
    write_json(run.result, {"status": status, "steps": 4, "job_id": "local 999999999"})
    (run.checkpoints / "step_4").mkdir(parents=True)
    (run.checkpoints / "step_4" / "model.pt").write_bytes(bytes(1 << 20))
    moment = time.time() - days_ago * 86400
    for path in (run.plan, run.jobs, run.result):
        os.utime(path, (moment, moment))
    return run


def listed(launch: Launch, *words: str) -> set[str]:
    document = json.loads(launch("clean", "--json", *words).stdout)
    assert document["deleted"] is False
    return {run["run_id"] for run in document["runs"]}


def test_it_shows_what_failed_or_is_old_and_deletes_nothing_unasked(
    launch: Launch, make_run: MakeRun
) -> None:
    runs = [
        ended(make_run(run_id=run_id), status, days)
        for run_id, status, days in (("bad", "failed", 1), ("worse", "failed", 40), ("good", "completed", 40))
    ]
    assert listed(launch) == {"bad", "worse"}
    assert listed(launch, "--older-than", "30d") == {"worse", "good"}
    assert listed(launch, "--older-than", "30d", "--state", "completed") == {"good"}
    assert listed(launch, "good") == {"good"}
    said = launch("clean")
    assert "1.0 MiB" in said.stdout
    assert "nothing was deleted; --yes deletes them" in said.stderr
    assert all(run.plan.exists() for run in runs)

    assert "deleted 1 run" in launch("clean", "--older-than", "30d", "--state", "failed", "--yes").stderr
    assert [run.path.exists() for run in runs] == [True, False, True]
    launch("clean", "good", "--checkpoints", "--yes")
    assert not runs[2].checkpoints.exists()
    assert json.loads(launch("status", "good", "--json").stdout)["status"] == "completed"
    assert "nothing to clean" in launch("clean", "good", "--checkpoints", "--yes").stderr


def test_what_a_killed_command_left_of_a_run_is_found(launch: Launch, make_run: MakeRun) -> None:
    runs_dir = make_run(run_id="good").path.parent
    for name, inside in (
        (".r.abcd_123", "attempts"),
        (".r.12345678", "control"),
        (".s.abcd_123", "attempts/1"),
        (".t.new45678", "attempts"),
        (".notes", "attempts"),
    ):
        (runs_dir / name / inside).mkdir(parents=True)
        for path in (runs_dir / name / inside, runs_dir / name):
            os.utime(path, (0, 0) if name != ".t.new45678" else None)
    (runs_dir / ".r.empty678").mkdir()
    os.utime(runs_dir / ".r.empty678", (0, 0))
    assert listed(launch) == {".r.abcd_123", ".r.empty678"}
    assert listed(launch, "--state", "failed") == set()
    assert "deleted 2 runs" in launch("clean", "--yes").stderr
    there = {path.name for path in runs_dir.iterdir()}
    assert there == {"good", ".r.12345678", ".s.abcd_123", ".t.new45678", ".notes"}


def test_what_runs_is_left_alone(launch: Launch, make_run: MakeRun) -> None:
    run = make_run(LASTS, run_id="live")
    executor = executor_for("local")
    executor.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")
    assert "live is left alone: it is running" in launch("clean", "live", "--yes").stderr
    assert listed(launch, "--older-than", "0s") == set()
    executor.cancel(run)
    assert run.plan.exists()


def test_a_run_that_was_started_meanwhile_is_not_deleted(make_run: MakeRun) -> None:
    run = ended(make_run(LASTS, run_id="again"), "failed")
    found = leftovers([run], (), None, checkpoints_only=False)
    executor = executor_for("local")
    executor.start(run)
    wait_until((run.logs / "ready").exists, "the training to start")
    with pytest.raises(UserError, match="has a job by now: it is running"):
        delete(found, checkpoints_only=False)
    executor.cancel(run)
    assert run.plan.exists()


def test_links_are_not_followed_and_other_directories_not_touched(
    launch: Launch, make_run: MakeRun, tmp_path: Path
) -> None:
    run = ended(make_run(run_id="r"), "failed")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    (run.logs / "link").symlink_to(precious)
    (run.path.parent / "notes").mkdir()
    (run.path.parent / "notes" / "todo").write_text("x")
    outside = ended(make_run(run_id="moved"), "failed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    outside.path.rename(elsewhere / "moved")
    (run.path.parent / "moved").symlink_to(elsewhere / "moved")
    (run.path.parent / "newest").symlink_to("r")
    assert "through a link" in launch("clean", "newest", "--yes", code=2).stderr
    assert run.plan.exists()
    launch("clean", "--yes")
    assert not run.path.exists()
    assert (precious / "thesis.tex").exists()
    assert (run.path.parent / "notes" / "todo").exists()
    assert (elsewhere / "moved" / "plan.json").exists()
    assert "through a link" in launch("clean", "moved", "--yes", code=2).stderr
    assert (elsewhere / "moved" / "plan.json").exists()
    assert launch("clean", tmp_path / "precious", "--yes", code=2).stderr
    foreign = ended(make_run(run_id="foreign"), "failed")
    foreign.path.chmod(0o777)
    assert "foreign is left alone" in launch("clean", "--yes").stderr
    assert foreign.plan.exists()
