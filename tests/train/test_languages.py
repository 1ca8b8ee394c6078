"""Test files by name, such as one for each language: evaluated by themselves once the training is over."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.training import RankServer, make_run, metrics, recipe, result

from launcher.runs.directory import RunDir


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, ranks: RankServer) -> RunDir:
    """A run with two more test files, the second of which has all labels turned round."""
    directory = tmp_path_factory.mktemp("languages")
    with (tiny_data / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    other = {"negative": "positive", "positive": "negative"}
    for name, turned in (("en", False), ("xx", True)):
        with (directory / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(
                {**row, "label": other[row["label"]] if turned else row["label"]} for row in rows
            )
    extra = {name: str(directory / f"{name}.csv") for name in ("en", "xx")}
    wanted = recipe(tiny_data, train={"max_steps": 4}, eval={"extra": extra})
    return ranks.complete(make_run(directory / "run", wanted))


def test_each_language_has_its_own_metrics(spoken: RunDir) -> None:
    found = result(spoken)
    assert found["extra"]["en"] == found["test"]
    assert found["extra"]["xx"]["accuracy"] == pytest.approx(1 - found["test"]["accuracy"])
    (line,) = metrics(spoken, "xx")
    assert line["eval/accuracy"] == found["extra"]["xx"]["accuracy"]
    assert line["step"] == found["steps"]


def test_files_without_a_header_and_one_that_is_lost(tmp_path: Path, ranks: RankServer) -> None:
    """Another extension is read with the same columns; what can't be evaluated costs nothing else."""
    lines = [(("good", "bad")[k % 2], f"word {k % 7} here") for k in range(40)]
    for name, separator in (("train.csv", ","), ("de.tsv", "\t"), ("lost.csv", ",")):
        (tmp_path / name).write_text("".join(f"{label}{separator}{text}\n" for label, text in lines))
    files = dict.fromkeys(("train", "validation", "test"), str(tmp_path / "train.csv"))
    wanted = recipe(
        tmp_path,
        data={**files, "header": False, "columns": ["label", "text"]},
        train={"max_steps": 2},
        eval={"extra": {"de": str(tmp_path / "de.tsv"), "lost": str(tmp_path / "lost.csv")}},
    )
    run = make_run(tmp_path / "run", wanted)
    (tmp_path / "lost.csv").unlink()
    found = result(ranks.complete(run))
    assert found["best"] is not None
    assert found["extra"]["de"] == found["test"]
    assert "lost.csv" in found["extra"]["lost"]["error"]
    assert ranks.verb("eval", run.path, tmp_path / "de.tsv")["de.tsv"] == found["test"]


def test_evaluating_again_gives_the_same(spoken: RunDir, ranks: RankServer) -> None:
    again = ranks.verb("eval", spoken.path)
    assert {name: again[name] for name in ("en", "xx")} == result(spoken)["extra"]
