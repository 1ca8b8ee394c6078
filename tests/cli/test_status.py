"""What `launch status` and `launch logs` make of a run directory, whatever state it was left in."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import Launch

from launcher.cli.output import fitted, in_full, table
from launcher.runs.directory import RunDir
from launcher.runs.events import Evaluated, Phase, Recent, Step
from launcher.runs.files import write_json
from launcher.visible import columns_of

Planned = Callable[..., RunDir]


def report(run: RunDir, **event: object) -> None:
    with run.events.open("a") as file:
        file.write(json.dumps({"t": 1.0, "attempt": 1, **event}) + "\n")


def test_no_runs_yet(launch: Launch, tmp_path: Path) -> None:
    result = launch("status")
    assert result.stdout == ""
    assert "launch recipe=smoke" in result.stderr
    assert json.loads(launch("status", "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_is_gone_without_a_word(launch: Launch, planned: Planned) -> None:
    run = planned("lost")
    run.add_job("local 999999999")
    report(run, event="step", step=3, total=10, loss=0.5, examples_per_s=80.0, eta_s=7.0)
    state = json.loads(launch("status", "lost", "--json").stdout)
    assert state["status"] == "unknown"
    assert (state["step"], state["total"], state["eta_s"]) == (3, 10, None)
    text = launch("status", "lost").stdout
    assert "the job is gone and left no result" in text
    assert "launch resume lost" in text


def test_a_run_without_an_attempt_has_no_last_one(launch: Launch, planned: Planned) -> None:
    """`0, the last as local job none` was said of it."""
    planned("new")
    assert "  attempts    0\n" in launch("status", "new").stdout


def test_each_split_stands_under_its_own_name(launch: Launch, planned: Planned) -> None:
    run = planned("evaluated")
    report(run, event="eval", step=4, split="validation", metrics={"accuracy": 0.5}, best=True)
    report(run, event="eval", step=4, split="test", metrics={"accuracy": 0.25}, best=False)
    state = json.loads(launch("status", "evaluated", "--json").stdout)
    assert state["metrics"] == {"accuracy": 0.5}
    assert state["evaluations"]["test"] == {"step": 4, "metrics": {"accuracy": 0.25}}
    rows = [line.split() for line in launch("status", "evaluated").stdout.splitlines()]
    assert ["validation", "accuracy", "0.5000", "(step", "4)"] in rows
    assert ["test", "accuracy", "0.2500", "(step", "4)"] in rows


def test_a_failure_is_told_with_its_cause_and_remedy(launch: Launch, planned: Planned) -> None:
    run = planned("broken")
    run.add_job("local 999999999")
    error = {
        "class": "memory",
        "rank": 3,
        "host": "node2",
        "step": 17,
        "message": "out of memory\nat layer 3",
        "remedy": "use batch.micro=4",
    }
    write_json(run.result, {"status": "failed", "steps": 17, "error": error})
    text = launch("status", "broken").stdout
    assert "broken: failed" in text
    assert "memory (rank 3, host node2, step 17): out of memory" in text
    assert "use batch.micro=4" in text


def test_values_that_fail_are_to_be_changed_and_not_resumed(launch: Launch, planned: Planned) -> None:
    run = planned("wild")
    run.add_job("local 999999999")
    error = {"class": "diverged", "step": 3, "message": "loss nan", "remedy": "lower train.lr"}
    write_json(run.result, {"status": "failed", "steps": 3, "error": error, "job_id": "local 999999999"})
    text = launch("status", "wild").stdout
    assert "launch recipe=runs/wild/recipe.yaml run_id=null KEY=VALUE" in text
    assert "launch resume" not in text
    again = launch("plan", "recipe=runs/wild/recipe.yaml", "run_id=null", "train.lr=1e-5", "--json").stdout
    assert json.loads(again)["recipe"]["train"]["lr"] == 1e-5


def test_the_newest_run_comes_first(launch: Launch, planned: Planned) -> None:
    for number, run_id in enumerate(("b", "a", "c")):
        run = planned(run_id)
        os.utime(run.plan, (number, number))
    listed = [row["run_id"] for row in json.loads(launch("status", "--json").stdout)]
    assert listed == ["c", "a", "b"]


def test_a_torn_event_is_no_reason_to_fail(launch: Launch, planned: Planned) -> None:
    run = planned("torn")
    report(run, event="step", step=3, total=10, loss=None, examples_per_s=80.0, eta_s=7.0)
    with run.events.open("a") as file:
        file.write('{"t": 2.0, "attempt": 1, "event": "st')
    assert json.loads(launch("status", "torn", "--json").stdout)["step"] == 3


def test_logs_are_named_and_include_the_job_s(launch: Launch, planned: Planned) -> None:
    run = planned("r")
    run.job_log("41").write_text("srun: starting\n")
    for rank in (0, 1, 10, 2):
        run.rank_log(rank).write_text(f"hello from {rank}\nno end")
    lines = launch("logs", "r").stdout.splitlines()
    assert lines[0] == "[job 41] srun: starting"
    assert [line for line in lines if "hello" in line] == [
        f"[rank {rank}] hello from {rank}" for rank in (0, 1, 2, 10)
    ]
    assert "[rank 10] no end" in lines
    assert launch("logs", "r", "--rank", "10").stdout == "hello from 10\nno end\n"


def test_logs_don_t_show_keys(launch: Launch, planned: Planned) -> None:
    run = planned("r")
    key = "k" * 40
    run.rank_log(0).write_text(f"logged in with {key}\n")
    assert key not in launch("logs", "r", env={"WANDB_API_KEY": key}).stdout


def test_a_prefix_must_be_unique(launch: Launch, planned: Planned) -> None:
    planned("one-1")
    planned("one-2")
    result = launch("status", "one", code=2)
    assert "one-1, one-2" in result.stderr
    assert launch("status", "one-1").stdout.startswith("one-1: ")


def ended(run: RunDir, status: str, days_ago: float = 0.0, **result: object) -> RunDir:
    """A run with a result of so long ago."""
    run.add_job("local 999999999")
    write_json(run.result, {"status": status, "steps": 4, "job_id": "local 999999999", **result})
    moment = time.time() - days_ago * 86400
    for path in (run.plan, run.jobs, run.result):
        os.utime(path, (moment, moment))
    return run


def test_runs_are_chosen_by_their_state_and_by_when_something_happened_to_them(
    launch: Launch, planned: Planned
) -> None:
    for run_id, status, days in (("new", "failed", 1), ("old", "failed", 5), ("done", "completed", 1)):
        ended(
            planned(run_id), status, days, error={"class": "memory", "message": "out of memory\nat layer 3"}
        )

    def listed(*words: object) -> list[str]:
        return [row["run_id"] for row in json.loads(launch("status", "--json", *words).stdout)]

    assert set(listed("--state", "failed")) == {"new", "old"}
    assert set(listed("--since", "2d")) == {"new", "done"}
    assert listed("--state", "failed", "--since", "48h") == ["new"]
    assert set(listed("--state", "failed", "--state", "completed")) == {"new", "old", "done"}
    result = launch("status", "--state", "failed")
    assert "memory: out of memory" in result.stdout
    assert "2 runs: 2 failed" in result.stderr
    assert "none of the 3 runs" in launch("status", "--state", "running").stderr
    assert "is no duration" in launch("status", "--since", "soon", code=2).stderr
    assert "'failed'" in launch("status", "--state", "broken", code=2).stderr
    assert "name none" in launch("status", "new", "--since", "2d", code=2).stderr


def test_a_list_is_no_wider_than_the_terminal_and_cuts_nothing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [["a-run-with-a-long-name-of-seed-1", "failed", "memory: " + 60 * "x", "2026-11-28 12:06"]] * 2
    assert fitted(rows, 2) == rows
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for columns in (80, 60, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(len, table(fitted(rows, 2)).splitlines())) <= columns
    monkeypatch.setenv("COLUMNS", "80")
    assert fitted(rows, 2)[0][0] == rows[0][0]
    monkeypatch.setenv("COLUMNS", "60")
    assert fitted(rows, 2)[0][0] == "a-run-wi…-seed-1"


def test_a_list_with_wide_letters_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ["情感分类-种子一", "failed", "data: " + 30 * "数据", "2026-11-28 12:06"],
        ["b", "completed", "accuracy 0.9", ""],
    ]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for columns in (100, 80, 60, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(map(columns_of, table(fitted(rows, 2)).splitlines())) <= columns
        assert max(map(columns_of, table(in_full(rows, 1)).splitlines())) <= columns
    monkeypatch.setenv("COLUMNS", "60")
    assert fitted(rows, 2)[0][2] == "data: 数据数据…"


def test_many_runs_with_long_logs_are_listed_in_little_processor_time(
    launch: Launch, planned: Planned
) -> None:
    first = ended(planned("r"), "completed", best={"metric": "accuracy", "value": 0.5, "step": 4})
    step = {"t": 1.0, "attempt": 1, "event": "step", "step": 3, "total": 10, "loss": 0.5, "eta_s": 7.0}
    first.events.write_text((json.dumps(step) + "\n") * 2000)
    for number in range(399):
        copied = first.path.with_name(f"r-{number}")
        shutil.copytree(first.path, copied, copy_function=os.link)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = launch("status")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "400 runs: 400 completed" in result.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3, "measured: 0.5 s"


def test_a_list_reads_no_plan_of_a_run_whose_result_tells_all(launch: Launch, planned: Planned) -> None:
    best = {"metric": "accuracy", "value": 0.5, "step": 4}
    run = ended(planned("r"), "completed", best=best, steps=7, total_steps=10)
    planned("other")
    run.plan.write_text("{}")
    (line,) = (line for line in launch("status").stdout.splitlines() if line.startswith("r "))
    assert line.split()[1:5] == ["completed", "7/10", "accuracy", "0.5000"]
    (told,) = (row for row in json.loads(launch("status", "--json").stdout) if row["run_id"] == "r")
    assert told["status"] == "damaged"
    assert "plan.json" in told["error"]
    assert "plan.json" in launch("status", "r", code=2).stderr


def test_the_newest_event_of_a_kind_is_found_from_the_end(planned: Planned) -> None:
    run = planned("r")
    report(run, event="phase", name="training")
    report(run, event="notice", text='it said "event": "step" and went on')
    report(run, event="step", step=3)
    with run.events.open("a") as file:
        file.write('{"t": 2.0, "event": "step", "step"')
    recent = Recent(run.events)
    assert (recent.newest(Step) or Step()).step == 3
    assert [event.name for event in recent.each(Phase)] == ["training"]
    assert recent.newest(Evaluated) is None
