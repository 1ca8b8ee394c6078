"""Long files are predicted and written part by part: the same rows in the same order, and what is done stays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launcher.errors import UserError
from launcher.loading.resolve import read_recipe_file
from launcher.reading.inference_files import look_to_predict, rows_to_predict
from launcher.runs.directory import RunDir
from launcher.runs.files import part_of
from launcher.tasks.shared.rows import Row
from launcher.train.use import predictions
from launcher.train.use.evaluation import no_progress
from launcher.train.use.inference import Predictor
from launcher.train.use.predictions import in_parts, predict_in_parts, predict_rows
from launcher.train.use.written_rows import write_array, write_rows

Cells = dict[str, Any]


@pytest.fixture(scope="module")
def predictor(tiny_run: RunDir) -> Predictor:
    return Predictor.load(tiny_run, read_recipe_file(tiny_run.recipe), torch.device("cpu"))


def test_rows_predicted_in_parts_are_those_predicted_together(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with other columns than the first have their place in the table, too."""
    given = [{"text": f"a film {number}", **({"note": "late"} if number == 6 else {})} for number in range(7)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    recipe = predictor.task.recipe
    looked, rows = look_to_predict(source, recipe), list(rows_to_predict(source, recipe))
    assert (looked.count, list(looked.stored)) == (7, ["text", "note"])
    together = predict_rows(predictor, rows, "in")
    write_rows(tmp_path / "together.csv", [together])
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(predictions, "MOST_ROWS", 3)
    parts = list(
        predict_in_parts(
            predictor, rows, "in", 7, lambda phase: lambda done, total: told.append((phase, done, total))
        )
    )
    assert [len(part) for part in parts] == [3, 3, 1]
    for found, expected in zip((row for part in parts for row in part), together, strict=True):
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        assert {**found, "probabilities": None} == {**expected, "probabilities": None}
    assert write_rows(tmp_path / "parts.csv", parts, looked.stored) == 7
    header = "text,prediction,probabilities,note"
    for name in ("together.csv", "parts.csv"):
        assert (tmp_path / name).read_text().splitlines()[0] == header
    assert [done for phase, done, _ in told if phase == "predicting"] == sorted(
        done for phase, done, _ in told if phase == "predicting"
    )
    assert told[-1] == ("predicting", 7, 7)


def test_what_is_held_at_once_is_bounded_by_texts_and_by_what_is_said_of_them(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row({"text": "ten charac"}, number) for number in range(1, 5)]
    assert [len(part) for part in in_parts(predictor, rows)] == [4]
    monkeypatch.setattr(predictions, "MOST_CHARACTERS", 20)
    assert [len(part) for part in in_parts(predictor, rows)] == [2, 2]
    monkeypatch.setattr(predictions, "MOST_CHANCES", 2)  # one for each of two classes
    assert [len(part) for part in in_parts(predictor, rows)] == [1, 1, 1, 1]


@pytest.mark.parametrize("form", ["csv", "jsonl", "npy"])
def test_where_writing_comes_to_no_end_whole_parts_stay_under_another_name(tmp_path: Path, form: str) -> None:
    target = tmp_path / f"out.{form}"
    target.write_text("of last week")

    def parts(whole: int) -> Iterator[list[Cells]]:
        for number in range(whole):
            yield [{"text": f"{number}"}, {"text": "b"}]
        raise KeyboardInterrupt

    def write(whole: int) -> None:
        if form == "npy":
            write_array(target, ([[1.0, 2.0]] * len(part) for part in parts(whole)), 6)
        else:
            write_rows(target, parts(whole))

    with pytest.raises(KeyboardInterrupt):
        write(0)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with pytest.raises(KeyboardInterrupt):
        write(2)
    assert target.read_text() == "of last week"
    left = part_of(target)
    assert left.name == f"out.{form}.part"
    if form == "npy":
        # It says how many it is to hold, so that it is never read as whole.
        with pytest.raises(ValueError, match="not fully written"):
            np.load(left)
        return
    with left.open() as file:
        found = list(csv.DictReader(file)) if form == "csv" else [json.loads(line) for line in file]
    assert [row["text"] for row in found] == ["0", "b", "1", "b"]


def test_vectors_written_in_parts_are_the_array_that_numpy_saves(tmp_path: Path) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert write_array(tmp_path / "parts.npy", [vectors[:4].tolist(), vectors[4:].tolist()], 6) == 6
    np.save(tmp_path / "whole.npy", vectors)
    assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_file_that_changes_while_it_is_predicted_is_told(predictor: Predictor) -> None:
    rows = [Row({"text": "a film"}, 1)]
    with pytest.raises(UserError, match="was changed while its rows were predicted"):
        list(predict_in_parts(predictor, rows, "in", 2, lambda _: no_progress))
