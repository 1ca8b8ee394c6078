"""`launch logs` of a run on this machine: what its training tells, after it and while it goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import execute
from launcher.runs import events
from launcher.runs.directory import RunDir
from launcher.runs.events import parse_event

Finished = tuple[RunDir, Any]


def test_a_healthy_run_has_a_log(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    assert execute(["logs", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"\[run\] \d\d:\d\d:\d\d \w", line) for line in lines)
    told = [line.split(" ", 2)[2] for line in lines]
    assert told[0] == "starting"
    assert [line.split()[1] for line in told if line.startswith("step ")] == [f"{n}/6" for n in range(1, 7)]
    assert any(line.startswith("validation at step 6: accuracy ") for line in told)


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_the_end_of_a_log(
    finished: Finished, follow: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A run of days is taken up without all of its lines; the job's log and each rank's have their own end."""
    run = RunDir(shutil.copytree(finished[0].path, tmp_path / finished[0].run_id))
    run.rank_log(1).write_text("a\nb\nc\n")
    assert execute(["logs", str(run.path), *follow, "--tail", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "[rank" in line] == ["[rank 1] b", "[rank 1] c"]
    _, last = [line for line in lines if "[run]" in line]
    assert " test at step 6: accuracy " in last


def test_the_end_of_a_long_log_is_read_without_its_beginning(
    finished: Finished, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five lines of 300 MB took 22 seconds of processor time."""
    run = RunDir(shutil.copytree(finished[0].path, tmp_path / finished[0].run_id))
    lines = run.events.read_text().splitlines(keepends=True)
    (step, *_) = (line for line in lines if '"step"' in line)
    end = [lines[-1]] + ['{"event": "untold"}\n'] * 2000 + [step]
    run.events.write_text("".join([step] * 20_000 + end))
    read: list[str] = []
    monkeypatch.setattr(events, "parse_event", lambda line: read.append(line) or parse_event(line))
    assert execute(["logs", str(run.path), "--tail", "3"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[run]")]
    assert [line.split()[2] for line in told[::2]] == ["step", "step"]
    assert len(told) == 3
    assert len(read) < 10_000


def test_the_log_as_json(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    assert execute(["logs", str(run.path), "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert first["source"] == "run"
    assert first["line"].endswith(" starting")


def test_a_run_that_has_written_nothing_is_said_to(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    copy = tmp_path / "quiet"
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("logs"))
    assert execute(["logs", str(copy)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "quiet has written no line yet: launch status quiet\n"


def test_what_was_said_between_the_id_and_the_first_event(finished: Finished) -> None:
    _, done = finished
    note, *said = done.stderr.splitlines()
    assert note.startswith("each evaluation reads 300 rows")
    assert said[:2] == ["starting Python", "starting"]
    assert "/?" not in done.stderr


def test_a_run_whose_terminal_was_closed_is_followed_again(
    start: Callable[..., Any],
    trains: Callable[..., RunDir],
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    watching = start(*tiny, "run_id=left", "train.max_steps=200")
    run = trains(tmp_path / "runs")
    watching.kill()
    watching.wait()
    monkeypatch.chdir(tmp_path)
    assert execute(["logs", "left", "-f"]) == 0
    printed = capsys.readouterr().out
    assert "step 200/200" in printed
    result = run.read_result()
    assert result is not None
    assert result.status == "completed"


def test_a_model_that_may_still_be_replaced_says_so(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    from launcher.cli.verbs.models import trained_run

    run, _ = finished
    kept = run.result.rename(run.path.with_name("result.json"))
    try:
        assert trained_run(str(run.path), None) == run.path
    finally:
        kept.rename(run.result)
    assert capsys.readouterr().err == (
        "note: done is not completed: this is its best model so far, of step 6\n"
    )


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which a verb gets as far as starting torch."""
    monkeypatch.setattr("launcher.cli.train_process.run_verb", lambda _: pytest.fail("torch was started"))


@pytest.mark.usefixtures("no_torch")
def test_an_unknown_label_is_told_at_once(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    assert execute(["explain", str(run.path), "--text", "fine", "--label", "dreadful"]) == 2
    assert "allowed: negative, positive" in capsys.readouterr().err


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_half_a_pair_is_told_at_once(
    finished: Finished, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    recipe = run.recipe.read_text()
    run.recipe.write_text(recipe.replace("text: text", "text: [text, other]"))
    try:
        assert execute([verb, str(run.path), "--text", "fine"]) == 2
    finally:
        run.recipe.write_text(recipe)
    assert "give --text twice for a pair" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1e999", "NaN", "true"])
def test_an_event_with_what_is_no_number_is_left_out(number: str) -> None:
    from launcher.runs.events import parse_event

    assert parse_event(f'{{"event": "step", "step": 1, "loss": {number}}}') is None
