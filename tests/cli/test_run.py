"""A whole run on this machine, from the command line's side."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import Launch
from support.plans import new_run, plan_of

from launcher.cli.summary import trained
from launcher.runs import endings
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json

Finished = tuple[RunDir, "subprocess.CompletedProcess[str]"]


def test_stdout_is_the_run_id_and_the_rest_is_prose(finished: Finished) -> None:
    _, said = finished
    assert said.stdout == "done\n"
    assert "step 1/6" in said.stderr
    assert "step 6/6" in said.stderr
    assert "\x1b[" not in said.stderr


@pytest.mark.parametrize(
    ("files", "named"), [(4, "0.csv + 1.csv + 2.csv + 3.csv"), (20, "0.csv + 1.csv + 2.csv + 17 more files")]
)
def test_many_files_are_a_line_still(files: int, named: str, tmp_path: Path) -> None:
    recipe = {"data": {"train": [f"{number}.csv" for number in range(files)]}}
    run = new_run(plan_of(recipe, run_dir=tmp_path / "many"))
    assert trained(run.read_plan()).endswith(f", on 2,400 examples of {named}")


def test_the_summary_tells_a_newcomer_what_there_is_now(finished: Finished) -> None:
    _, said = finished
    summary = said.stderr[said.stderr.index("done is trained: 6 steps in") :]
    assert "a new bert (1 x 16) for classification, on 64 examples of" in summary
    for part in (
        "trained",
        "accuracy",
        "runs/done/model",
        "runs/done/metrics.jsonl",
        "launch predict done --text",
    ):
        assert part in summary


def test_the_files_are_those_that_plan_writes(
    finished: Finished, launch: Launch, tiny: tuple[str, ...]
) -> None:
    run, _ = finished
    directory = run.path.parent.parent
    # The run's own directory is taken now, so the same is planned for another, whose name alone may differ.
    words = (*tiny, "train.max_steps=6", "run_id=done", "runs_dir=sunr")
    launch("plan", *words, "--out", "planned", cwd=directory)
    for path in (directory / "planned").rglob("*.*"):
        written = (run.path / path.relative_to(directory / "planned")).read_text()
        planned = path.read_text().replace('  "runs_dir": "override",\n', "").replace("/sunr", "/runs")
        assert same_commit(planned) == same_commit(written), path.name


def same_commit(text: str) -> str:
    """The commit is that of the working tree, which someone may be working on."""
    return re.sub(r'"git_commit": .*', "", text)


def test_status_of_a_completed_run(finished: Finished, launch: Launch) -> None:
    run, _ = finished
    state = json.loads(launch("status", run.path, "--json").stdout)
    assert (state["status"], state["step"], state["total"]) == ("completed", 6, 6)
    assert state["result"]["best"]["metric"] == "accuracy"
    text = launch("status", "don", "--runs-dir", run.path.parent).stdout
    assert text.startswith("done: completed\n")
    assert "launch predict done FILE" in text
    listed = launch("status", env={"LAUNCH_RUNS_DIR": str(run.path.parent)}).stdout
    assert "done  completed  6/6" in listed


def test_logs_of_a_completed_run(finished: Finished, launch: Launch) -> None:
    run, _ = finished
    sources = {entry["source"] for entry in json.loads(launch("logs", run.path, "--json").stdout)}
    assert sources <= {"run", "job local", "rank 0"}
    assert launch("logs", run.path, "-f").code == 0
    missing = launch("logs", run.path, "--rank", "7", code=2)
    assert "ranks with a log: 0" in missing.stderr


def test_a_completed_run_is_neither_stopped_nor_resumed(finished: Finished, launch: Launch) -> None:
    run, _ = finished
    for verb in ("stop", "cancel"):
        assert "is not running: it is completed" in launch(verb, run.path, code=2).stderr
    assert "is completed: there is nothing left to do" in launch("resume", run.path, code=2).stderr
    assert run.attempt_numbers() == [1]


def test_a_cancelled_run_tells_all_that_its_files_tell(
    finished: Finished, launch: Launch, tmp_path: Path
) -> None:
    completed = read_json(finished[0].result) or {}
    run = RunDir(shutil.copytree(finished[0].path, tmp_path / "runs" / "done"))
    with run.metrics.open("a") as metrics:
        metrics.write('{"step": 7, "tr')  # torn by the kill
    endings.cancelled(run)
    cancelled = read_json(run.result) or {}
    assert completed.keys() <= cancelled.keys()
    same = ("run_id", "best", "predicted", "steps", "epochs", "micro_batch_size", "attempts")
    assert {key: cancelled[key] for key in same} == {key: completed[key] for key in same}
    assert cancelled["measured"] is None
    (row,) = json.loads(launch("compare", "done", "--json").stdout)["rows"]
    assert row["best"]["mean"] == completed["best"]["value"]


def test_predict_texts_and_files(finished: Finished, launch: Launch, tmp_path: Path) -> None:
    run, _ = finished
    (tmp_path / "new.csv").write_text("id,text\n1,the cake was wonderful\n2,a dull evening\n")
    result = launch("predict", run.path, "new.csv", "--output", "out.csv")
    assert "2 predictions in" in result.stderr
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert all(row["prediction"] in ("positive", "negative") for row in rows)
    document = json.loads(launch("predict", run.path, "--text", "a fine day", "--json").stdout)
    assert document["predictions"][0]["prediction"] in ("positive", "negative")


def test_predict_says_which_column_is_missing(finished: Finished, launch: Launch, tmp_path: Path) -> None:
    run, _ = finished
    (tmp_path / "new.csv").write_text("sentence\nthe cake was wonderful\n")
    result = launch("predict", run.path, "new.csv", code=2)
    assert "data.text=text: no such column in the file" in result.stderr
    assert "allowed: sentence" in result.stderr
    assert launch("predict", run.path, code=2).stderr.startswith("launch: give a FILE or --text")
    assert "no such file" in launch("eval", run.path, "nothing.csv", code=2).stderr


def test_export_makes_a_new_directory(finished: Finished, launch: Launch, tmp_path: Path) -> None:
    run, _ = finished
    assert launch("export", run.path, "--output", "mine").stdout.strip() == str(tmp_path / "mine")
    assert (tmp_path / "mine" / "config.json").is_file()
    assert "exists already" in launch("export", run.path, "--output", "mine", code=2).stderr


def test_a_run_that_fails_says_why_and_what_to_do(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    long = "text,label\n" + "\n".join(f'"sentence {n}",{"ab"[n % 2]}' for n in range(40))
    (tmp_path / "train.csv").write_text(long)
    words = (
        "data.train=[train.csv,./train.csv]",
        "data.validation=null",
        "data.test=null",
        "train.lr=1e30",
        "train.warmup=0",
        "run_id=wrong",
    )
    result = launch(*tiny, *words, code=1)
    assert result.stdout == "wrong\n"
    assert "one file, given 2 times" in result.stderr, "a note of the plan"
    assert "wrong failed" in result.stderr
    assert "diverged" in result.stderr
    assert "lower train.lr" in result.stderr
    assert "Traceback" not in result.stderr
    state = json.loads(launch("status", "wrong", "--json").stdout)
    assert state["status"] == "failed"
    assert "cause" in launch("status", "wrong").stdout


def test_nobody_else_reads_or_changes_what_a_run_has_made(
    finished: tuple[RunDir, subprocess.CompletedProcess[str]],
) -> None:
    run, _ = finished
    made = [path for path in (run.path, *run.path.rglob("*")) if not path.is_symlink()]
    others = {str(path): oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077}
    assert len(made) > 20
    assert others == {}
