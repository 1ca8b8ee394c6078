"""`launch drill` proves exact resume, and would notice if it weren't."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Launch
from support.launched import training_processes
from support.waiting import wait_until

from launcher.report.drill_page import page
from launcher.report.sameness import first_step, near_losses, reported_alike
from launcher.runs.directory import RunDir
from launcher.runs.drills import Drill, StepDifference
from launcher.runs.records import make, read_json


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "steps"),
    [("kill", 150), pytest.param("stop,kill", 300, marks=pytest.mark.long)],
)
def test_stopped_and_killed_runs_end_as_an_undisturbed_one(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path, faults: str, steps: int
) -> None:
    result = launch("drill", *tiny, "--faults", faults, "--steps", steps, "--json", timeout_s=900)
    document = json.loads(result.stdout)
    assert document == read_json(tmp_path / "drill.json")
    drill = make(Drill, document, "drill.json")
    assert drill.passed
    errors = {"stop": None, "kill": "killed"}
    assert [(run.way, run.error) for run in drill.runs] == [(way, errors[way]) for way in faults.split(",")]
    for run in drill.runs:
        counts = {finding.what: finding.count for finding in run.findings}
        assert counts["training losses"] >= steps
        assert counts["tensors and values of the final state"] > 100
        assert run.interrupted_at - run.steps_lost == run.resumed_from
        assert run.seconds_to_next_step
        assert run.seconds_to_next_step > 0
    assert list((tmp_path / "runs").iterdir()) == []
    assert "every loss and every tensor" in (tmp_path / "drill.html").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_a_drill_that_is_interrupted_leaves_no_training_behind(tiny: tuple[str, ...], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "launcher", "drill", *tiny, "train.max_steps=5000", "gpus=1"]
    drill = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    runs = tmp_path / "runs"

    def ranks() -> list[int]:
        return [pid for path in runs.glob("*") for pid, _ in training_processes(RunDir(path))]

    wait_until(lambda: bool(ranks()), "a training", timeout_s=240)
    drill.send_signal(signal.SIGINT)
    said = drill.communicate(timeout=120)[1]
    assert drill.returncode not in (0, 2), said
    wait_until(lambda: ranks() == [], "the end of the training", timeout_s=30)
    assert "its runs are removed" in said
    assert list(runs.iterdir()) == []


def test_a_fault_that_there_is_not_is_refused_before_anything_runs(launch: Launch, tmp_path: Path) -> None:
    said = launch("drill", "recipe=smoke", "--faults", "kil,stop", code=2).stderr
    assert "--faults=kil: there is no such fault" in said
    assert "did you mean kill?" in said
    assert list(tmp_path.iterdir()) == []


def make_run(path: Path, losses: list[float]) -> RunDir:
    run = RunDir(path)
    run.logs.mkdir(parents=True)
    rows = [{"step": step, "train/loss": loss} for step, loss in enumerate(losses, 1)]
    rows.append({"step": len(losses), "split": "validation", "eval/loss": 1.0})
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    events = [
        {"event": "step", "attempt": 1, "step": step, "loss": loss} for step, loss in enumerate(losses, 1)
    ]
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    return run


def test_equal_runs_have_everything_in_common(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name, [0.5, 0.25]) for name in ("one", "other"))
    assert all(finding.passed for finding in reported_alike(one, other))
    assert first_step(one, other) is None


@pytest.mark.parametrize("losses", [[0.5, 0.2500000001], [0.5]])
def test_the_first_step_that_differs_is_named(tmp_path: Path, losses: list[float]) -> None:
    one, other = make_run(tmp_path / "one", [0.5, 0.25]), make_run(tmp_path / "other", losses)
    training = reported_alike(one, other)[0]
    assert (training.what, training.same, training.count) == ("training losses", 1, 2)
    found = first_step(one, other)
    assert found is not None
    assert (found.step, found.expected, found.found) == (2, 0.25, losses[1] if len(losses) > 1 else None)


def test_a_step_done_again_must_come_to_the_same_loss(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name, [0.5, 0.25]) for name in ("one", "other"))
    with other.events.open("a") as file:
        file.write(json.dumps({"event": "step", "attempt": 2, "step": 2, "loss": 0.3}) + "\n")
    again = reported_alike(one, other, attempts=True)[1]
    assert (again.same, again.count) == (2, 3)
    assert again.difference == "step 2 in attempt 2: 0.25 and 0.3"
    assert first_step(one, other) == StepDifference(2, 0.25, 0.3, attempt=2)


def test_on_another_number_of_ranks_losses_must_stay_near(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", [0.5, 0.25])
    near = near_losses(one, make_run(tmp_path / "near", [0.5, 0.25001]), "fp32")
    assert near.finding.passed
    assert near.largest == pytest.approx(1e-5)
    far = near_losses(one, make_run(tmp_path / "far", [0.5, 0.26]), "fp32")
    assert far.finding.difference == "step 2: 0.25 and 0.26"
    assert near_losses(one, make_run(tmp_path / "rounded", [0.5, 0.26]), "bf16").finding.passed
    assert not near_losses(one, make_run(tmp_path / "short", [0.5]), "bf16").finding.passed


def test_a_state_that_only_the_same_ranks_can_take_up_is_refused_before_anything_runs(
    launch: Launch, tmp_path: Path
) -> None:
    words = ("recipe=smoke", "device=cpu", "gpus=2", "zero.stage=3", "zero.offload=nvme")
    words = (*words, f"zero.nvme_path={tmp_path}")
    compiles = {"CC": "true"}  # as if libaio were there
    said = launch("drill", *words, "--faults", "stop,world", code=2, env=compiles).stderr
    assert "ZeRO-3 with zero.offload=nvme resumes on the number of ranks that it had" in said
    assert not (tmp_path / "runs").exists()


FAILED = {
    "passed": False,
    "recipe": "<b>smoke",
    "executor": "local",
    "world_size": 2,
    "strategy": "zero-2",
    "steps": 40,
    "reference": "drill-0-whole-40",
    "launcher": "0",
    "began_at": 0.0,
    "seconds": 61.0,
    "words": ["recipe=<b>smoke"],
    "runs": [
        {
            "way": "kill",
            "run_id": "drill-0-kill-40",
            "injected": "SIGKILL to rank 1",
            "interrupted_at": 20,
            "resumed_from": 10,
            "steps_lost": 10,
            "seconds_to_next_step": None,
            "passed": False,
            "findings": [{"what": "training losses", "same": 39, "count": 40, "difference": "step 21: 0.5 and 0.6"}],
            "first_step": {"step": 21, "expected": 0.5, "found": 0.6},
            "first_tensor": {
                "file": "model/model.safetensors", "tensor": "w", "elements": 1, "at": 3, "expected": 1.0, "found": 2.0,
            },
        }
    ],
}  # fmt: skip


def test_the_page_names_what_differs_first() -> None:
    text = page(make(Drill, FAILED, "drill.json"))
    assert "The first step that differs: step 21: 0.5 and 0.6" in text
    assert "The first tensor that differs: w in model/model.safetensors: 1 element, the first at 3" in text
    assert "&lt;b&gt;smoke" in text
    assert "://" not in text
