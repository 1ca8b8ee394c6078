"""What a trained model is used for: the same figures as in training, predictions for files, a directory to give away."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from support.training import RankServer, log, losses, make_run, metrics, recipe, result
from transformers import pipeline

from launcher.runs.directory import RunDir


@pytest.fixture(scope="module")
def evaluated(tiny_run: RunDir, ranks: RankServer) -> dict[str, Any]:
    return ranks.verb("eval", tiny_run.path)


def test_evaluation_repeats_that_of_the_training(tiny_run: RunDir, evaluated: dict[str, Any]) -> None:
    best = result(tiny_run)["best"]
    (row,) = [row for row in metrics(tiny_run, "validation") if row["step"] == best["step"]]
    assert {f"eval/{name}": value for name, value in evaluated["validation"].items()} == {
        name: value for name, value in row.items() if name.startswith("eval/")
    }
    assert evaluated["test"] == result(tiny_run)["test"]


def test_classes_that_the_data_have_in_another_order_are_the_models(
    tiny_run: RunDir, tiny_data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    run = RunDir(shutil.copytree(tiny_run.path, tmp_path / "run"))
    config = json.loads((run.model / "config.json").read_text())
    names = [config["id2label"]["1"], config["id2label"]["0"]]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}
    (run.model / "config.json").write_text(json.dumps(config))
    of_file = ranks.verb("eval", run.path, tiny_data / "validation.csv")["validation.csv"]
    assert ranks.verb("eval", run.path)["validation"] == of_file


def test_the_model_has_learned(tiny_run: RunDir) -> None:
    found = losses(tiny_run)
    assert statistics.mean(found[-7:]) < statistics.mean(found[:7]) - 0.02


def test_transformers_alone_uses_the_model(tiny_run: RunDir, tmp_path: Path, ranks: RankServer) -> None:
    exported = Path(ranks.verb("export", tiny_run.path, "--output", tmp_path / "given")["output"])
    assert sorted(path.name for path in exported.iterdir()) == sorted(
        path.name for path in tiny_run.model.iterdir()
    )
    rows = [("The coffee was far from dreadful!", "x"), ("A perfect, pleasant evening.", "y")]
    texts = [text for text, _ in rows]
    ours = ranks.verb("predict", tiny_run.path, "--text", texts[0], "--text", texts[1])["predictions"]
    theirs = pipeline("text-classification", model=str(exported), top_k=None)(texts)
    for mine, their in zip(ours, theirs, strict=True):
        assert mine["prediction"] == their[0]["label"]
        scores = {found["label"]: found["score"] for found in their}
        assert mine["probabilities"] == pytest.approx(scores, abs=1e-6)
    again = ranks.verb("export", tiny_run.path, "--output", exported, code=2)
    assert again["problems"][0]["message"] == "exists already"


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_predictions_stand_beside_the_columns_of_the_input(
    tiny_run: RunDir, tmp_path: Path, ranks: RankServer, output: str
) -> None:
    rows = [
        {"id": "7", "text": 'He said "no, never", and left.', "note": "a,b"},
        {"id": "8", "text": "Grün ist schön\nund gut", "note": ""},
        {"id": "9", "text": "word " * 200, "note": "longer than the model takes"},
    ]
    source = tmp_path / ("in.jsonl" if output.endswith("csv") else "in.csv")
    with source.open("w", encoding="utf-8", newline="") as file:
        if source.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, ["id", "text", "note"])
            writer.writeheader()
            writer.writerows(rows)
    assert ranks.verb("predict", tiny_run.path, source, "--output", tmp_path / output)["rows"] == 3
    with (tmp_path / output).open(encoding="utf-8", newline="") as file:
        if output.endswith("csv"):
            found: list[dict[str, Any]] = list(csv.DictReader(file))
            for row in found:
                row["probabilities"] = json.loads(row["probabilities"])
        else:
            found = [json.loads(line) for line in file]
    assert [list(row) for row in found] == [["id", "text", "note", "prediction", "probabilities"]] * 3
    assert [{name: row[name] for name in ("id", "text", "note")} for row in found] == rows
    for row in found:
        best = max(row["probabilities"], key=row["probabilities"].get)
        assert row["prediction"] == best
        assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_pairs_and_scores(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """Two text columns in, a number out; a labelled file of another format is evaluated."""
    rows = [
        {
            "one": f"word {index % 7} here",
            "two": f"word {index % 5} there",
            "score": f"{index % 7 - index % 5}",
        }
        for index in range(60)
    ]
    for name, part in (("train", rows[:40]), ("validation", rows[40:])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["one", "two", "score"])
            writer.writeheader()
            writer.writerows(part)
    wanted = recipe(
        tiny_data,
        task="regression",
        data={
            "train": str(tmp_path / "train.csv"),
            "validation": str(tmp_path / "validation.csv"),
            "test": None,
            "text": ["one", "two"],
            "label": "score",
        },
        train={"max_steps": 6},
        eval={"every": None},
    )
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["test"] is None, log(run)

    labelled = tmp_path / "other.jsonl"
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows[40:]))
    (found,) = (ranks.verb("eval", run.path, labelled)[name] for name in ["other.jsonl"])
    (row,) = metrics(run, "validation")
    assert found == {name: row[f"eval/{name}"] for name in found}

    ranks.verb("predict", run.path, labelled, "--output", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["one", "two", "score", "prediction"]
    error = sum((float(row["prediction"]) - float(row["score"])) ** 2 for row in written) / len(written)
    assert error == pytest.approx(found["mse"], rel=1e-4)


def test_a_run_without_a_model_says_so(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data))
    problem = ranks.verb("predict", run.path, "--text", "x", code=2)["problems"][0]
    assert problem["message"] == "has no model yet"
