"""`launch eval --output`: files about an evaluation."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.commands import Launch

from launcher.report.figures_svg import confusion_svg, reliability_svg
from launcher.runs.directory import RunDir
from launcher.runs.examination import Bin, Calibration, Confusion


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_everything_about_an_evaluation_is_in_a_directory(
    launch: Launch, finished: tuple[RunDir, CompletedProcess[str]], tmp_path: Path
) -> None:
    run = finished[0]
    said = launch("eval", run.path, "--output", "looked")
    test = tmp_path / "looked" / "test"
    assert "percentile bootstrap over 300 examples, 1,000 draws, 95%, seed 42" in said.stderr
    assert "looked/test/confusion.svg" in said.stdout
    predictions = rows(test / "predictions.csv")
    assert set(predictions[0]) == {"text", "label", "prediction", "probabilities"}
    matrix = {row.pop("true \\ predicted"): row for row in rows(test / "confusion.csv")}
    for true, taken in matrix.items():
        for predicted, count in taken.items():
            pairs = [(row["label"], row["prediction"]) for row in predictions]
            assert int(count) == pairs.count((true, predicted))
    metrics = {row["metric"]: row for row in rows(test / "metrics.csv")}
    assert float(metrics["accuracy"]["value"]) == run.read_result().test["accuracy"]  # type: ignore[union-attr,index]
    assert float(metrics["accuracy"]["low"]) < 0.5 < float(metrics["accuracy"]["high"])
    assert sum(int(row["support"]) for row in rows(test / "classes.csv")) == 300
    for picture in ("confusion.svg", "calibration.svg"):
        ElementTree.fromstring((test / picture).read_text())

    file = tmp_path / "own.csv"
    file.write_text("text,label\nThe cake was superb!,positive\nThe cake was awful!,negative\n")
    found = json.loads(launch("eval", run.path, file, "--output", "own", "--json").stdout)
    assert set(found) == {"own.csv", "intervals", "output", "files"}
    assert set(found["intervals"]["own.csv"]["accuracy"]) == {"low", "high"}
    assert len(rows(tmp_path / "own" / "predictions.csv")) == 2
    assert (
        launch("eval", run.path, file, "--output", "own", "--json").stdout
        == json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    )


def test_a_directory_of_something_else_is_left_alone(
    launch: Launch, finished: tuple[RunDir, CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert "thesis.tex" in launch("eval", finished[0].path, "--output", tmp_path, code=2).stderr
    (tmp_path / "file").write_text("x")
    assert "--output" in launch("eval", finished[0].path, "--output", tmp_path / "file", code=2).stderr


@pytest.mark.parametrize(("size", "drawn"), [(2, 2 * 2), (30, 30 + 1), (90, 90 + 1)])
def test_pictures_are_well_formed_whatever_labels_are_called(size: int, drawn: int) -> None:
    """Of many classes the cells in which nothing is are one area."""
    names = tuple(f"<b>{number} & \x1b[31m" for number in range(size))
    counts = tuple(tuple(int(row == column) for column in range(size)) for row in range(size))
    picture = confusion_svg(Confusion(names, counts, "examples"), "<script>")
    assert len(ElementTree.fromstring(picture).findall(".//{*}rect")) == drawn
    assert "\x1b" not in picture
    ElementTree.fromstring(reliability_svg(Calibration(0.1, (Bin(0.95, 0.5, 3),), "words"), "&"))


def test_chinese_names_of_classes_have_room() -> None:
    names = ("体育", "科技与互联网前沿", "财经新闻与股票市场")
    picture = ElementTree.fromstring(confusion_svg(Confusion(names, ((1,) * 3,) * 3, "examples"), "验证集"))
    texts = [text for text in picture.iterfind(".//{*}text") if text.text in names]
    assert len(texts) == 2 * len(names)
    for text in texts:
        room = float(text.get("y" if text.get("transform") else "x", 0))
        assert len(text.text or "") * float(text.get("font-size", 0)) <= room


@pytest.mark.long
def test_predictions_in_a_file_whose_name_is_not_utf8(
    launch: Launch, finished: tuple[RunDir, CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "own.csv").write_text("text\nThe cake was superb!\n")
    said = launch("predict", finished[0].path, "own.csv", "--output", "caf\udce9.csv")
    assert r"caf\udce9.csv" in said.stdout + said.stderr
    assert len(rows(tmp_path / "caf\udce9.csv")) == 1
