"""Run directories that hold what they should not: each is a sentence, in no time, and executes nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.shapes import write_shape

from launcher.cli import execute
from launcher.errors import UntrustedFile
from launcher.recipe import MOST_BYTES
from launcher.runs.directory import RunDir
from launcher.runs.trust import refuse_strangers

MakeRun = Callable[..., RunDir]
DEEP = '{"a":' * 50_000
MOST_CPU_S = 2.0


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def gigantic(path: Path) -> None:
    with path.open("w") as file:
        file.truncate(1 << 36)


DAMAGES: dict[str, Callable[[RunDir], object]] = {
    "empty_plan": lambda run: run.plan.write_text("{}"),
    "deep_plan": lambda run: run.plan.write_text(DEEP),
    "deep_result": lambda run: run.result.write_text(DEEP),
    "fifo_result": lambda run: fifo(run.result),
    "fifo_plan": lambda run: fifo(run.plan),
    "endless_result": lambda run: endless(run.result),
    "gigantic_result": lambda run: gigantic(run.result),
    "word_for_record": lambda run: run.result.write_text('{"status": "failed", "error": "all"}'),
    "number_for_status": lambda run: run.result.write_text('{"status": 7}'),
    "list_for_record": lambda run: run.result.write_text("[]"),
    "no_number": lambda run: run.result.write_text('{"status": "completed", "steps": NaN}'),
    "bad_layout": lambda run: run.plan.write_text(
        json.dumps({**json.loads(run.plan.read_text()), "layout": "wide"})
    ),
    "bad_executor": lambda run: run.plan.write_text(
        json.dumps({**json.loads(run.plan.read_text()), "executor": "cloud"})
    ),
    "word_for_attempts": lambda run: (run.attempts.rmdir(), run.attempts.write_text("one")),
    "fifo_jobs": lambda run: fifo(run.jobs),
    "endless_jobs": lambda run: endless(run.jobs),
    "word_for_job": lambda run: run.jobs.write_text("sudo reboot\n"),
}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.fault(34)
def test_damaged_runs_are_a_line_each_and_hide_no_other(launch: Launch, make_run: MakeRun) -> None:
    for name, damage in DAMAGES.items():
        damage(make_run(run_id=name))
    (make_run(run_id="whole").attempts / "²").mkdir()
    before = cpu_seconds()
    shown = launch("status").stdout
    assert cpu_seconds() - before < MOST_CPU_S
    lines = {line.split()[0]: line for line in shown.splitlines()[1:] if line.strip()}
    assert "damaged" not in lines.pop("whole")
    assert {name for name, line in lines.items() if "damaged" in line} == set(DAMAGES)
    assert "plan.json" in lines["empty_plan"]
    assert "result.json" in lines["fifo_result"]


@pytest.mark.parametrize("name", ["empty_plan", "fifo_result"])
@pytest.mark.parametrize("verb", ["status", "resume", "stop", "cancel", "diagnose", "compare", "predict"])
def test_every_verb_says_it_in_a_sentence(launch: Launch, make_run: MakeRun, name: str, verb: str) -> None:
    run = make_run("touch EXECUTED", run_id="r")
    DAMAGES[name](run)
    extra = ["--text", "x"] if verb == "predict" else []
    result = launch(verb, "r", *extra, code=2)
    assert "Traceback" not in result.stderr
    assert not (run.path / "EXECUTED").exists()


def test_a_page_shows_no_recipe_that_is_larger_than_a_recipe_may_be(
    launch: Launch, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(run_id="r")
    run.recipe.write_bytes(b'"\0' * (MOST_BYTES // 2 + 1))
    refused = launch("report", "r", "--output", tmp_path / "page.html", code=2)
    assert "recipe.yaml: is larger than 1,000,000 bytes" in refused.stderr
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("make", [fifo, endless])
def test_no_file_takes_the_place_of_a_device_or_a_pipe(
    launch: Launch, finished: tuple[RunDir, Any], tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "out")
    write_shape("stars.csv", tmp_path)
    run = str(finished[0].path)
    for words in (["report", run], ["explain", run, "--text", "x"], ["init", "stars.csv", "--force"]):
        option = "--html" if words[0] == "explain" else "--output"
        assert "a device or a pipe" in launch(*words, option, "out", code=2).stderr
    assert not (tmp_path / "out").is_file()


@pytest.mark.parametrize("damage", [fifo, endless])
def test_weights_that_are_no_file_are_not_waited_for(
    launch: Launch, finished: tuple[RunDir, Any], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for name in ("whole", "damaged"):
        shutil.copytree(finished[0].path, tmp_path / "runs" / name)
    damage(tmp_path / "runs" / "damaged" / "model" / "model.safetensors")
    assert "damaged/model/model.safetensors: is" in launch("diff", "whole", "damaged", code=2).stderr


def test_a_damaged_record_of_an_attempt_is_said_and_hides_nothing(
    launch: Launch, finished: tuple[RunDir, Any], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "runs" / "r")
    shutil.copytree(finished[0].path, run.path)
    run.attempt(1).record.write_text('{"number":')
    told = launch("status", "r")
    assert f"note: {run.attempt(1).record}: is not readable JSON" in told.stderr
    assert "r: completed" in told.stdout
    told = launch("status", "r", "--json")
    assert "attempt.json: is not readable JSON" in told.stderr
    (record,) = json.loads(told.stdout)["attempt_records"]
    assert (record["number"], record["started_at"]) == (1, None)


@pytest.mark.parametrize("verb", ["predict", "explain", "eval", "export", "push"])
def test_a_damaged_model_is_known_before_torch_is_imported(
    launch: Launch, finished: tuple[RunDir, Any], tmp_path: Path, verb: str
) -> None:
    run = RunDir(tmp_path / "runs" / "r")
    shutil.copytree(finished[0].path, run.path)
    os.truncate(run.model / "model.safetensors", 3000)
    before = cpu_seconds()
    result = launch(verb, "r", *(["--text", "x"] if verb in ("predict", "explain") else []), code=2)
    assert cpu_seconds() - before < MOST_CPU_S
    assert "runs/r/model: has a damaged model.safetensors" in result.stderr
    assert not (tmp_path / "r-model").exists()


@pytest.mark.parametrize(
    "name", ["", "job.sh", "plan.json", "control", "attempts/1", "checkpoints/step_1", "model"]
)
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.fault(34)
def test_what_others_may_change_is_not_executed(
    launch: Launch, make_run: MakeRun, name: str, mode: int
) -> None:
    run = make_run("touch EXECUTED", run_id="r")
    for directory in ("attempts/1", "checkpoints/step_1", "model"):
        (run.path / directory).mkdir(mode=0o700)
    path = run.path / name
    path.chmod(path.stat().st_mode | mode)
    result = launch("resume", "r", code=2)
    assert "can be changed by others" in result.stderr
    assert "chmod -R go-w" in result.stderr
    assert not (run.path / "EXECUTED").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.fault(34)
def test_what_belongs_to_somebody_else_is_not_executed(launch: Launch, make_run: MakeRun) -> None:
    run = make_run("touch EXECUTED", run_id="r")
    os.chown(run.job_sh, 12345, 12345)
    assert "belongs to user 12345" in launch("resume", "r", code=2).stderr
    (shown,) = json.loads(launch("status", "--state", "untrusted", "--json").stdout)
    assert (shown["status"], shown["run_id"]) == ("untrusted", "r")
    assert "job.sh: belongs to user 12345" in shown["error"]
    assert "r is left alone" in launch("clean", "--yes").stderr
    assert not (run.path / "EXECUTED").exists()


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same user, as another who has but the rights of everybody."""
    monkeypatch.setattr(os, "geteuid", lambda: Path("/proc/self").stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & mode))


@pytest.mark.usefixtures("as_another")
def test_runs_that_others_have_closed_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a colleague's directory it isn't said that there are no runs."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "bert").mkdir(mode=0o700)
    assert execute(["status", "--runs-dir", str(tmp_path / "theirs")]) == 0
    told = f"1 run of others in {tmp_path}/theirs can't be read: use them as their owner\n"
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("as_another")
def test_a_run_of_which_the_model_is_shared_says_how_to_use_it(make_run: MakeRun) -> None:
    run = make_run(run_id="r")
    run.model.mkdir()
    run.model.chmod(0o755)
    with pytest.raises(UntrustedFile, match=f"model.name={run.model}$"):
        refuse_strangers(run)


@pytest.mark.fault(34)
def test_links_in_a_run_are_not_followed(launch: Launch, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(run_id="r")
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    run.jobs.symlink_to(precious)
    assert "links in a run directory are not followed" in launch("resume", "r", code=2).stderr
    assert precious.read_text() == "mine\n"


def test_a_verb_is_a_verb_whatever_lies_beside_it(launch: Launch, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "result.json").write_text('{"mine":1}')
    launch("data", "recipe=smoke", "data.limit=64")
    assert [path.name for path in directory.iterdir()] == ["result.json"]
    assert (directory / "result.json").read_text() == '{"mine":1}'


@pytest.mark.fault(34)
def test_nothing_is_written_into_a_directory_that_is_no_run(launch: Launch, tmp_path: Path) -> None:
    for content in ("{}", '{"name": "my own plan"}'):
        directory = tmp_path / "mine"
        directory.mkdir(exist_ok=True)
        (directory / "plan.json").write_text(content)
        for verb in ("resume", "stop", "cancel", "status", "report", "export"):
            launch(verb, directory, code=2)
        assert [path.name for path in directory.iterdir()] == ["plan.json"]


def test_a_directory_that_is_no_run_is_called_so(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    said = launch("resume", tmp_path / "mine", code=2).stderr
    assert "mine: is not a run directory: it has no plan.json" in said
