"""`launch sweep` on this machine: real trainings, interrupted, continued and compared."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.commands import Launch
from support.waiting import wait_until

from launcher.cli.sweep_forecast import SharedJobs, SweepForecast, TrialForecast, forecast_text
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json, read_json_lines

pytestmark = pytest.mark.slow


def losses(run: RunDir) -> list[float]:
    return [row["train/loss"] for row in read_json_lines(run.metrics) if "split" not in row]


def waits_for_another(process: subprocess.Popen[str]) -> bool:
    """Whether the first thing that a sweep says of its trials is that another command is at them."""
    return "another command is training" in next(
        line for line in process.stderr or "" if "trials;" not in line
    )


def test_a_plan_counts_and_times_as_people_say_it() -> None:
    new = TrialForecast("s.seed1", {}, "", steps=4, predicted_s=0.02, exists=False)
    there = replace(new, exists=True)
    packed = SharedJobs(each=8, jobs=1, reason="as asked")
    plan = SweepForecast("s", "runs/s", "cpu", None, 0.16 / 3600, to_come=0, packed=packed, trials=(new,) * 8)
    *rows, share, total = forecast_text(plan).splitlines()
    assert "under a second" in rows[-1]
    assert share == "8 trials in a job, as asked: 1 job instead of 8"
    assert total == "8 trials, under a second of training steps (predicted); nothing was started"
    extended = forecast_text(replace(plan, trials=(there,) * 6 + (new,) * 2))
    assert "\n8 trials (2 new), under a second of training steps in new ones (predicted)" in extended
    whole = forecast_text(replace(plan, trials=(there,) * 8))
    assert whole.splitlines()[-1] == "8 trials (0 new); nothing was started"
    alone = forecast_text(replace(plan, trials=(new,), packed=None, device="cuda"))
    assert "\n1 trial, less than 0.01 GPU hours of training steps" in alone


def test_a_grid_is_interrupted_continued_extended_and_compared(
    launch: Launch, start: Callable[..., subprocess.Popen[str]], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*tiny, "train.max_steps=40", "checkpoint.every=5", "eval.every=20")
    grid = (*words, "train.lr=1e-3,1e-2", "seed=1,2")
    plan = json.loads(launch("sweep", *grid, "--plan", "--json").stdout)
    assert [trial["values"] for trial in plan["trials"]] == [
        {"train.lr": lr, "seed": seed} for lr in (0.001, 0.01) for seed in (1, 2)
    ]
    runs = [RunDir(tmp_path / "runs" / trial["run_id"]) for trial in plan["trials"]]
    costs = [trial["predicted_s"] for trial in plan["trials"]]
    assert plan["rank_hours"] == (None if None in costs else pytest.approx(sum(costs) / 3600))

    process = start("sweep", *grid)
    wait_until(lambda: runs[0].metrics.exists() and len(losses(runs[0])) > 5, "the first trial to train", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 75
    assert not runs[3].result.exists()

    done = json.loads(launch("sweep", *grid, "--parallel", 2, "--json").stdout)
    assert set(done["trials"].values()) == {"completed"}
    launch("run", *words, "train.lr=1e-3", "seed=1", "run_id=alone")
    assert losses(runs[0]) == losses(RunDir(tmp_path / "runs" / "alone"))
    assert len(losses(runs[0])) == 40

    again = launch("sweep", *words, "train.lr=1e-3,1e-2", "seed=1..2", "--json")
    assert "started" not in again.stderr
    rows = json.loads(launch("compare", plan["sweep"], "--json").stdout)["rows"]
    assert [len(row["runs"]) for row in rows] == [2, 2]
    best = json.loads(launch("compare", plan["sweep"], "--best", "--json").stdout)
    assert (best["run"] in rows[0]["runs"], best["recipe"]["run_id"]) == (True, None)
    (tmp_path / "best.yaml").write_text(launch("compare", plan["sweep"], "--best").stdout)
    planned = json.loads(launch("plan", "recipe=best.yaml", "--json").stdout)
    assert planned["recipe"] == {
        **(read_json(tmp_path / "runs" / best["run"] / "plan.json") or {})["recipe"],
        "run_id": None,
    }
    assert rows[0]["against_best"] is None
    assert rows[1]["against_best"]["seeds"] == 2
    assert rows[1]["against_best"]["p"] in (0.5, 1.0)
    assert "sign-flip permutation test" in launch("compare", plan["sweep"]).stdout
    launch("report", plan["sweep"])
    assert "Side by side" in (tmp_path / "report.html").read_text()


@pytest.mark.long
def test_what_is_asked_of_a_sweep_is_asked_of_its_trials(
    launch: Launch,
    start: Callable[..., subprocess.Popen[str]],
    slow_steps: tuple[str, str],
    tiny: tuple[str, ...],
    tmp_path: Path,
) -> None:
    words = (
        *tiny,
        *slow_steps,
        "train.max_steps=100000",
        "checkpoint.every=null",
        "eval.every=null",
        "seed=1..3",
    )
    runs = [RunDir(tmp_path / "runs" / f"s.seed{seed}") for seed in (1, 2, 3)]
    process = start("sweep", *words, "--name", "s")
    wait_until(lambda: runs[0].metrics.exists() and len(losses(runs[0])) > 2, "the first trial to train", 120)
    second = start("sweep", *words, "--name", "s")
    assert waits_for_another(second)
    document = json.loads(launch("status", "s", "--json").stdout)
    assert [trial["values"] for trial in document["trials"]] == [{"seed": seed} for seed in (1, 2, 3)]
    assert document["counts"] == {"running": 1, "waiting": 2}
    launch("stop", "s", "--wait")
    assert (process.wait(60), second.wait(60)) == (75, 75)
    assert not runs[1].metrics.exists()
    assert "1 stopped, 2 waiting" in launch("status", "s").stdout
    assert "s.seed1" in launch("status").stdout
    assert "has no trial that is running" in launch("cancel", "s", code=2).stderr
    assert "name one: s.seed1, s.seed2, s.seed3" in launch("logs", "s", code=2).stderr
    assert "no trial with an evaluated model" in launch("compare", "s", code=2).stderr

    again = start("resume", "s")
    done = len(losses(runs[0]))
    wait_until(lambda: len(losses(runs[0])) > done, "the first trial to go on", 120)
    second = start("sweep", *words, "--name", "s")
    assert waits_for_another(second)
    again.send_signal(signal.SIGINT)
    said = again.communicate(timeout=120)[1].splitlines()
    assert again.returncode == 75
    assert said[-4:] == [
        "saving, then stopping what runs; press Ctrl-C again to kill it instead",
        "s.seed1: stopped",
        "s: 1 stopped, 2 waiting",
        "the same command, or launch resume s, trains what is missing",
    ]
    done = len(losses(runs[0]))
    wait_until(lambda: len(losses(runs[0])) > done, "the second command to go on", 120)
    launch("cancel", "s")
    assert second.wait(60) == 75
    assert launch("status", "s").stdout.splitlines()[-1] == "3 trials: 1 cancelled, 2 waiting"


@pytest.mark.long
def test_seeds_of_a_run_are_a_sweep_of_one_point(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    done = json.loads(launch(*tiny, "train.max_steps=3", "seeds=2", "--json").stdout)
    assert set(done["trials"].values()) == {"completed"}
    assert [run_id.partition(".")[2] for run_id in done["trials"]] == ["seed1", "seed2"]
    rows = json.loads(launch("compare", done["sweep"], "--json").stdout)["rows"]
    assert [row["seeds"] for row in rows] == [[1, 2]]
    for wrong in ("seeds=1", "seeds=x", "seeds=2 seed=3", "seeds=2 run_id=x", "seeds=2 seeds=3"):
        launch(*tiny, *wrong.split(), code=2, cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("*.seed*"))) == 2
    assert_trials_that_others_may_change_are_not_believed(
        done, (*tiny, "train.max_steps=3"), launch, tmp_path
    )


def assert_trials_that_others_may_change_are_not_believed(
    done: dict[str, Any], words: tuple[str, ...], launch: Launch, directory: Path
) -> None:
    """Of a sweep of two seeds that is done: first its second trial, then both."""
    name, (own, planted) = done["sweep"], done["trials"]
    (directory / "runs" / planted).chmod(0o777)
    compared = launch("compare", name, "--json")
    assert f"{planted} is left out" in compared.stderr
    assert "can be changed by others" in compared.stderr
    assert [row["runs"] for row in json.loads(compared.stdout)["rows"]] == [[own]]
    assert json.loads(launch("report", name, "--json").stdout)["runs"] == [own]
    for command in ((*words, "seeds=2"), ("resume", name)):
        assert "can be changed by others" in launch(*command, code=2).stderr
    (directory / "runs" / own).chmod(0o777)
    for verb in ("compare", "report"):
        assert "can be changed by others" in launch(verb, name, code=2).stderr


@pytest.mark.long
def test_a_trial_that_fails_holds_no_other_up(launch: Launch, tiny: tuple[str, ...]) -> None:
    result = launch("sweep", *tiny, "train.max_steps=3", "train.lr=1e-3,1e18", "--json", code=1)
    assert sorted(json.loads(result.stdout)["trials"].values()) == ["completed", "failed"]
    assert ": failed: diverged (" in result.stderr


@pytest.mark.long
def test_a_search_that_is_killed_trains_each_point_once(
    launch: Launch, start: Callable[..., subprocess.Popen[str]], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*tiny, "train.max_steps=10", "train.lr=1e-4..1e-1:log", "--search", "tpe", "--name", "s")
    process = start("sweep", *words, "--trials", 2)
    runs_dir = tmp_path / "runs"
    wait_until(lambda: any(runs_dir.glob("s.*/metrics.jsonl")), "the first trial to train", 120)
    process.kill()
    assert "2 trials (1 drawn as results come)" in launch("sweep", *words, "--trials", 2, "--plan").stdout
    done = json.loads(launch("sweep", *words, "--trials", 2, "--json").stdout)
    assert list(done["trials"].values()) == ["completed", "completed"]
    more = launch("resume", "s").stderr
    assert "started" not in more
    more = launch("sweep", *words, "--trials", 3, "--json")
    assert list(json.loads(more.stdout)["trials"].values()) == ["completed"] * 3
    assert [len(losses(RunDir(path))) for path in runs_dir.glob("s.*")] == [10] * 3
    assert [len(RunDir(path).all_jobs()) for path in runs_dir.glob("s.*")] == [1] * 3


def test_halving_stops_trials_at_their_evaluations(
    launch: Launch,
    start: Callable[..., subprocess.Popen[str]],
    slow_steps: tuple[str, str],
    tiny: tuple[str, ...],
    tmp_path: Path,
) -> None:
    words = (
        *tiny,
        *slow_steps,
        "train.max_steps=100000",
        "checkpoint.every=null",
        "eval.every=20",
        "eval.metric=loss",
    )
    search = ("--search", "halving", "--trials", 4, "--parallel", 4, "--name", "s")
    process = start("sweep", *words, "train.lr=1e-5..1e-1:log", *search)
    early = tmp_path / "runs" / "s" / "halving.jsonl"

    def stopped() -> list[str]:
        rows = list(read_json_lines(early))
        names = [row["run_id"] for row in rows if not row["goes_on"]]
        return [name for name in names if RunDir(tmp_path / "runs" / name).result.exists()]

    wait_until(lambda: bool(stopped()), "a trial to be stopped", 240)
    launch("stop", "s", "--wait")
    assert process.wait(60) == 75
    trials = json.loads(launch("status", "s", "--json").stdout)["trials"]
    said = {trial["run_id"]: trial["status"] for trial in trials}
    assert {said[name] for name in stopped()} == {"stopped early"}
    assert set(said.values()) == {"stopped early", "stopped"}
    assert "stopped early at step" in process.communicate()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train.lr=1e-5..1e-3",), "a search draws from it"),
        (("train.lr=1e-5..1e-3", "--search", "random"), "given together"),
        (("train.lr=1e-5..1e-3", "--trials", "5"), "given together"),
        (("train.lr=1e-5..1e-3", "--search", "random", "--trials", "0"), "from 1 to 10,000"),
        (("train.lr=1e-5..1e-3", "--search", "tpe", "--trials", "3", "--prune"), "drawn at once"),
        (("train.lr=1e-5..1e-3:log", "--search", "tpee", "--trials", "3"), "tpee"),
        (("train.lr=-3..-1", "--search", "random", "--trials", "3"), "must be"),
    ],
)
def test_mistakes_of_a_search(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in launch("sweep", *tiny, *words, code=2).stderr
    assert not list(tmp_path.iterdir())
