"""A record that was damaged while the run was stopped is put right when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

from support.plans import new_run, plan_of

from launcher.runs.directory import RunDir
from launcher.train.process.events import Events
from launcher.train.record.metrics_log import MetricsLog
from launcher.train.record.repair import put_right

STEPS = 12


def lines() -> list[str]:
    return [
        json.dumps({"step": step, "epoch": step / 6, "train/loss": 1 / step}) for step in range(1, STEPS + 1)
    ]


def resumed(run: RunDir) -> list[str]:
    """What is said when the run goes on from its last step."""
    with run.events.open("a") as stream:
        put_right(run, STEPS, Events(stream, 2))
    told = [json.loads(line) for line in run.events.read_text().splitlines()]
    return [event["text"] for event in told if event["event"] == "notice"]


def test_two_steps_in_one_line_are_two_again(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    whole = "\n".join(lines()) + "\n"
    run.metrics.write_text(whole.replace('\n{"step": 8', '\x0b{"step": 8'))
    assert resumed(run) == ["metrics.jsonl was damaged and is put right"]
    assert run.metrics.read_text() == whole
    assert not MetricsLog(run.metrics).train(8, {"train/loss": 5.0})


def test_a_lost_step_comes_back_and_another_is_said_to_be_lost(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    kept = lines()
    del kept[11], kept[6:8]
    run.metrics.write_text("\n".join(kept) + "\n")
    told = ({"event": "step", "attempt": 1, "step": step, "loss": 1 / step, "lr": 0.1} for step in (7, 12))
    run.events.write_text("".join(json.dumps(event) + "\n" for event in told))
    assert resumed(run) == [
        "metrics.jsonl was damaged and is put right: restored step 7, step 12",
        "metrics.jsonl lacks step 8: neither W&B's files nor events.jsonl have them",
    ]
    found = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert (found[6]["train/loss"], found[6]["train/lr"]) == (1 / 7, 0.1)


def test_a_whole_record_is_left_as_it_is(tmp_path: Path) -> None:
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "r"))
    run.metrics.write_text("\n".join(lines()) + "\n")
    before = run.metrics.stat().st_ino
    put_right(run, STEPS, Events(None))
    assert run.metrics.stat().st_ino == before
