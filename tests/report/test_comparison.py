"""What `launch compare` makes of the files of runs: rows, means, and when it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.plans import TINY, new_run, plan_of

from launcher.cli.app import cli
from launcher.errors import UserError
from launcher.report.comparison import Figures, compare, doubts, figures, has_value
from launcher.report.repetitions import repetitions
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

HERE = "this-machine"


def trained(
    directory: Path,
    name: str,
    best: float,
    *,
    seed: int = 1,
    metric: str = "accuracy",
    test: float | None = None,
    **changes: Any,
) -> RunDir:
    """A run directory that looks as after a training: `best` on the validation data in its third step."""
    run = new_run(plan_of({"seed": seed, "run_id": name, **changes}, run_dir=directory / name))
    write_json(
        run.result,
        {
            "status": "completed",
            "best": {"metric": metric, "value": best, "step": 3},
            "test": None if test is None else {metric: test, "loss": 0.1},
            "wall_s": 60.0 + seed,
            "measured": {"total": 2**30, "parameters": 1000},
        },
    )
    rows = [
        {"step": 1, "split": "validation", f"eval/{metric}": 0.0, "eval/loss": 9.0},
        {"step": 3, "split": "validation", f"eval/{metric}": best, "eval/loss": 1 - best},
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"x" * 4000)
    return run


def known(*runs: RunDir, metric: str | None = None) -> list[Figures]:
    return [figures(run, metric, HERE) for run in runs]


def test_the_best_stands_first_and_seeds_share_a_row(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path, "low", 0.70),
        trained(tmp_path, "high-1", 0.90, seed=1, train={"lr": 2e-3}, test=0.8),
        trained(tmp_path, "high-2", 0.94, seed=2, train={"lr": 2e-3}, test=0.9),
    ]
    first, second = compare(known(*runs))
    assert first.runs == ("high-1", "high-2")
    assert first.seeds == (1, 2)
    assert first.best.mean == pytest.approx(0.92)
    assert first.best.deviation == pytest.approx(0.04 / math.sqrt(2))
    assert first.test is not None
    assert first.test.mean == pytest.approx(0.85)
    assert first.train_s is not None
    assert first.train_s.mean == 61.5
    assert first.size_bytes.mean == 4000
    assert second.runs == ("low",)
    assert (second.best.mean, second.best.deviation, second.test) == (0.70, None, None)


def test_a_run_of_the_same_seed_or_on_other_data_has_a_row_of_its_own(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path, "one", 0.80),
        trained(tmp_path, "two", 0.82, seed=2),
        trained(tmp_path, "again", 0.80),
        trained(tmp_path, "other-data", 0.70, seed=3),
    ]
    for run in runs:
        digest = "b" * 64 if run.run_id == "other-data" else "a" * 64
        file = {"split": "train", "path": "/data/train.csv", "bytes": 9, "sha256": digest}
        run.data_used.parent.mkdir(exist_ok=True)
        write_json(run.data_used, {"fingerprint": "f", "examples": {}, "labels": [], "files": [file]})
    assert [row.runs for row in compare(known(*runs))] == [("one", "two"), ("again",), ("other-data",)]
    assert [run.run_id for run in repetitions(runs[0])] == ["two"]


def test_less_is_better_for_a_loss(tmp_path: Path) -> None:
    runs = [trained(tmp_path, "a", 0.9), trained(tmp_path, "b", 0.6, train={"lr": 1e-5})]
    assert [row.runs for row in compare(known(*runs, metric="loss"))] == [("a",), ("b",)]
    assert [row.best.mean for row in compare(known(*runs, metric="loss"))] == pytest.approx([0.1, 0.4])


def test_different_metrics_are_not_compared(tmp_path: Path) -> None:
    runs = [trained(tmp_path, "a", 0.9), trained(tmp_path, "b", 0.8, metric="macro_f1", seed=2)]
    with pytest.raises(UserError) as error:
        compare(known(*runs))
    assert "accuracy: a; macro_f1: b" in str(error.value)
    assert "--metric NAME" in str(error.value)
    assert [row.runs for row in compare(known(*runs, metric="loss"))] == [("a", "b")]


def test_a_metric_that_a_run_has_not_is_named_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was not computed") as error:
        figures(trained(tmp_path, "a", 0.9), "acuracy", HERE)
    assert "did you mean accuracy?" in str(error.value)


def test_a_metric_that_is_no_number_is_told_as_such(tmp_path: Path) -> None:
    run = trained(tmp_path, "a", 0.123, metric="pearson")
    for file in (run.result, run.metrics):
        file.write_text(file.read_text().replace("0.123", "null"))
    assert not has_value(run, None)
    assert has_value(run, "loss")
    with pytest.raises(UserError, match="a: pearson is no number, as where all predictions") as error:
        figures(run, None, HERE)
    assert "--metric loss" in str(error.value)


def test_a_trial_without_a_number_is_left_out_but_not_where_all_are(tmp_path: Path) -> None:
    runs = [trained(tmp_path, name, 0.123, metric="pearson") for name in ("a", "b")]
    (tmp_path / "s").mkdir()
    write_json(
        tmp_path / "s" / "sweep.json", {"trials": [{"run_id": run.run_id, "values": {}} for run in runs]}
    )
    for run, left in zip(runs, (True, False), strict=True):
        for file in (run.result, run.metrics):
            file.write_text(file.read_text().replace("0.123", "null"))
        said = CliRunner().invoke(cli, ["compare", "s", "--runs-dir", str(tmp_path)])
        assert ("1 of 2 trials have no number for the metric" in said.stderr) is left
        assert ("left out" in said.stderr) is left
        assert said.exit_code == (0 if left else 1)
    assert isinstance(said.exception, UserError)
    assert "a: pearson is no number" in str(said.exception)


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    run = new_run(plan_of({}, run_dir=tmp_path / "young"))
    with pytest.raises(UserError, match="no evaluated model yet"):
        figures(run, None, HERE)


def test_other_data_are_pointed_out(tmp_path: Path) -> None:
    one = trained(tmp_path, "a", 0.9)
    other = trained(tmp_path, "b", 0.8, data={"validation": TINY["data"]["train"]})
    assert not list(doubts(known(one)))
    assert list(doubts(known(one, other))) == ["the runs were trained or evaluated on different data"]


def of_fold(directory: Path, fold: int, best: float, lr: float = 1e-3, seed: int = 1) -> RunDir:
    cut = {"validation": None, "folds": 3, "fold": fold}
    return trained(directory, f"{lr}-{fold}-{seed}", best, seed=seed, data=cut, train={"lr": lr})


def test_the_folds_of_a_cross_validation_share_a_row(tmp_path: Path) -> None:
    one = [of_fold(tmp_path, fold, best) for fold, best in enumerate((0.7, 0.8, 0.9))]
    other = [of_fold(tmp_path, fold, best, lr=2e-3) for fold, best in enumerate((0.71, 0.82, 0.93))]
    first, second = compare(known(*other, *one))
    assert (first.seeds, first.folds, first.repeated) == ((1, 1, 1), (0, 1, 2), "fold")
    assert first.best.mean == pytest.approx(0.82)
    assert second.best.deviation == pytest.approx(0.1)
    assert second.against_best is not None  # paired by fold
    assert second.against_best.mean == pytest.approx(-0.02)
    assert list(doubts(known(*one, *other))) == []


def test_folds_with_several_seeds_are_told_as_runs(tmp_path: Path) -> None:
    found = compare(known(*(of_fold(tmp_path, fold, 0.8, seed=seed) for fold in (0, 1) for seed in (1, 2))))
    assert [(row.seeds, row.folds, row.repeated) for row in found] == [((1, 1, 2, 2), (0, 1, 0, 1), "run")]


def test_trainings_that_were_validated_on_other_folds_are_pointed_out(tmp_path: Path) -> None:
    one, other = of_fold(tmp_path, 0, 0.8), of_fold(tmp_path, 1, 0.8, lr=2e-3)
    assert list(doubts(known(one, other))) == ["the runs were validated on different folds"]
    assert list(doubts(known(one, one))) == []


def test_runs_that_were_not_trained_to_the_end_are_pointed_out(tmp_path: Path) -> None:
    runs = [trained(tmp_path, "whole", 0.9)]
    for number in range(6):
        runs.append(trained(tmp_path, f"short-{number}", 0.8, seed=number + 2))
        ended = {"status": "stopped", "steps": 253, "best": {"metric": "accuracy", "value": 0.8, "step": 3}}
        write_json(runs[-1].result, ended)
    short = [f"short-{number} (stopped at step 253)" for number in range(6)]
    assert list(doubts(known(*runs[:3]))) == [f"not trained to the end: {', '.join(short[:2])}"]
    assert list(doubts(known(*runs))) == [f"not trained to the end: {', '.join(short[:4])} and 2 more"]


def test_a_latency_counts_on_the_machine_where_it_was_measured(tmp_path: Path) -> None:
    run = trained(tmp_path, "a", 0.9)
    write_json(run.latency, {"machine": HERE, "ms": 3.5})
    assert figures(run, None, HERE).latency_ms == 3.5
    assert figures(run, None, "elsewhere").latency_ms is None
