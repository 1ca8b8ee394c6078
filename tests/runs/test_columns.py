"""metrics.jsonl as columns: what a row would say of each step, in a fraction of its memory."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of

from launcher.report.story import Story
from launcher.runs.columns import read_columns
from launcher.runs.directory import RunDir
from launcher.runs.metrics import read_metrics


def recorded(directory: Path, *lines: dict[str, Any]) -> RunDir:
    run = new_run(plan_of({"executor": "local"}, run_dir=directory / "runs" / "r"))
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def train(step: int, **figures: float | None) -> dict[str, Any]:
    return {"step": step, "epoch": step / 4} | {f"train/{name}": value for name, value in figures.items()}


def evaluated(step: int, accuracy: float) -> dict[str, Any]:
    return {"step": step, "split": "validation", "eval/accuracy": accuracy}


LINES = (
    train(1, loss=0.5),
    train(2, loss=None, grad_norm=2.0),
    evaluated(2, 0.5),
    train(3, loss=0.25),
    evaluated(2, 0.75),  # again: the first one counts
    train(4, loss=0.125, grad_norm=1.0),
    evaluated(4, 0.875),
)


@pytest.mark.parametrize(
    "order",
    [(0, 1, 2, 3, 4, 5, 6), (1, 0, 0, 2, 4, 3, 5, 6)],
    ids=["steps one after the other, read as they come", "out of order, put in order first"],
)
def test_a_column_has_the_figure_of_each_step(order: tuple[int, ...], tmp_path: Path) -> None:
    columns = read_columns(recorded(tmp_path, *(LINES[index] for index in order)))
    assert list(columns.steps) == [1, 2, 3, 4]
    assert list(columns.epochs) == [0.25, 0.5, 0.75, 1.0]
    assert list(map(str, columns.figure("train/loss"))) == ["0.5", "nan", "0.25", "0.125"]
    assert list(map(str, columns.figure("train/lr"))) == ["nan"] * 4
    assert [(row.step, row.metrics()) for row in columns.evaluations] == [
        (2, {"accuracy": 0.5}),
        (4, {"accuracy": 0.875}),
    ]
    assert columns.doubt is None


def test_a_curve_has_the_steps_whose_lines_name_its_figure(tmp_path: Path) -> None:
    curves = {
        name: (list(steps), list(values))
        for name, steps, values in read_columns(recorded(tmp_path, *LINES)).curves()
    }
    assert curves["train/grad_norm"] == ([2, 4], [2.0, 1.0])
    assert curves["train/loss"][0] == [1, 2, 3, 4]
    assert math.isnan(curves["train/loss"][1][1])


def test_a_gap_is_told_as_rows_tell_it(tmp_path: Path) -> None:
    run = recorded(tmp_path, train(1, loss=0.5), train(4, loss=0.25))
    assert read_columns(run).doubt == read_metrics(run).doubt == "metrics.jsonl lacks steps 2-3"


def test_a_page_of_a_long_run_takes_no_dictionary_a_step(tmp_path: Path) -> None:
    steps, figures = 20_000, 8
    many = {f"figure_{number}": 0.1 * number for number in range(figures)}
    run = recorded(tmp_path, *(train(step, loss=1 / step, **many) for step in range(1, steps + 1)))
    tracemalloc.start()
    Story(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / steps < 32 * figures  # bytes; rows of a million steps took a gigabyte
