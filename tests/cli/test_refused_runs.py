"""Runs that were copied, moved or damaged, and a name that means none: refused in a line, and no other run suffers."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Launch

from launcher.errors import UserError
from launcher.runs import finding
from launcher.runs.directory import RunDir
from launcher.runs.finding import find

MakeRun = Callable[..., RunDir]


def test_a_copied_run_is_resumed_only_where_its_job_would_train(
    launch: Launch, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    copy = shutil.copytree(run.path, tmp_path / "copy")
    said = launch("resume", "copy", code=2).stderr
    assert f"was moved or copied from {run.path}" in said
    assert f"launch resume {run.path}" in said
    assert f"init_from={copy}" in said
    assert run.attempt_numbers() == []

    run.path.rename(tmp_path / "moved")
    said = launch("resume", "moved", code=2).stderr
    link = f"ln -s {tmp_path}/moved {run.path}"
    assert link in said
    subprocess.run(shlex.split(link), check=True)
    assert launch("resume", "moved", code=1).stdout == "moved\n"
    assert RunDir(tmp_path / "moved").attempt_numbers() == [1]


def test_an_empty_name_is_not_the_only_run(launch: Launch, make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(UserError, match="RUN is empty"):
        find("", run.path.parent)
    (run.path.parent / "best").symlink_to(run.path)
    assert find("best", run.path.parent).path == run.path
    result = launch("cancel", "", code=2)
    assert result.stderr.startswith("launch: RUN is empty")


def test_a_whole_name_is_found_without_a_look_at_other_runs(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand names in a directory of a thousand runs, each took a look at a thousand."""
    run = make_run(run_id="smoke-1")
    make_run(run_id="smoke-12")
    monkeypatch.setattr(finding, "list_runs", lambda runs_dir: pytest.fail(f"listed {runs_dir}"))
    assert find("smoke-1", run.path.parent) == run


def test_a_damaged_run_hides_no_other(launch: Launch, make_run: MakeRun) -> None:
    damages: dict[str, Callable[[RunDir], object]] = {
        "attempt": lambda run: (write(run.attempt(1).record, "[]"), run.add_job("local 999999999")),
        "jobs": lambda run: write(run.jobs, "\x00\ufffd?\n"),
        "list": lambda run: write(run.plan, "[]"),
        "result": lambda run: write(run.result, ""),
        "torn": lambda run: write(run.plan, '{"executor": "lo'),
    }
    for name, damage in damages.items():
        damage(make_run(run_id=name))
    make_run(run_id="whole")
    listed = dict(line.split()[:2] for line in launch("status").stdout.splitlines()[1:] if line.strip())
    assert listed.pop("whole") == "waiting"
    assert listed == dict.fromkeys(damages, "damaged")
    for name in damages:
        result = launch("resume", name, code=2)
        assert len(result.stderr.splitlines()) == 1, result
        assert "is not readable JSON" in result.stderr or "holds a line that is no job" in result.stderr
    for verb in ("compare", "diagnose", "status"):
        result = launch(verb, "torn", code=2)
        assert "Traceback" not in result.stderr


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
