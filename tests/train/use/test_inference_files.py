"""Files given to `launch predict` and `launch eval`: what they may hold, and mistakes in them: exit code 2."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from support.training import RankServer
from transformers import AutoTokenizer

from launcher import tasks
from launcher.runs.directory import RunDir

DAY = dt.date(2026, 1, 31)


def _jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_dates_are_written_as_text(tiny_run: RunDir, tmp_path: Path, ranks: RankServer, output: str) -> None:
    rows = [{"text": "fine", "when": DAY, "days": [DAY]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    ranks.verb("predict", tiny_run.path, tmp_path / "in.parquet", "--output", tmp_path / output)
    with (tmp_path / output).open(newline="") as file:
        (row,) = csv.DictReader(file) if output.endswith("csv") else map(json.loads, file)
    days = json.loads(row["days"]) if output.endswith("csv") else row["days"]
    assert (row["when"], days) == ("2026-01-31", ["2026-01-31"])


def test_a_first_row_without_text_is_no_missing_column(
    tiny_run: RunDir, tmp_path: Path, ranks: RankServer
) -> None:
    rows = _jsonl(tmp_path / "in.jsonl", {"label": "positive"}, {"text": "fine", "label": "positive"})
    assert ranks.verb("predict", tiny_run.path, rows, "--output", tmp_path / "out.jsonl")["rows"] == 2
    assert "accuracy" in ranks.verb("eval", tiny_run.path, rows)["in.jsonl"]


@pytest.mark.parametrize(
    ("content", "where", "message", "remedy"),
    [
        ("text,label\nfine,positive\nfine,postive\n", "", "in.csv:3: label 'postive' is not in", "negative, positive"),
        ("text,class\nfine,positive\n", "in.csv", "no such column in the file", "allowed: text, class"),
        ("text,label\nfine,\n", "in.csv:2", "the label is empty", "mend or remove the row"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_to_evaluate_is_the_users(
    tiny_run: RunDir, tmp_path: Path, ranks: RankServer, content: str, where: str, message: str, remedy: str
) -> None:
    (tmp_path / "in.csv").write_text(content)
    (problem,) = ranks.verb("eval", tiny_run.path, tmp_path / "in.csv", code=2)["problems"]
    assert (problem["where"] or "").endswith(where)
    assert message in problem["message"]
    assert remedy in problem["remedy"]


def test_a_token_that_the_model_has_no_embedding_of_is_named(
    tiny_run: RunDir, tmp_path: Path, ranks: RankServer
) -> None:
    """Somebody has added a word to the tokenizer, and nothing to the model."""
    run = RunDir(shutil.copytree(tiny_run.path, tmp_path / "run"))
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    tokenizer.add_tokens(["<url>"])
    tokenizer.save_pretrained(run.model)
    for verb in ("predict", "explain"):
        ranks.verb(verb, run.path, "--text", "fine")
        (problem,) = ranks.verb(verb, run.path, "--text", "fine <url>", code=2)["problems"]
        assert "knows '<url>', token" in problem["message"]


def test_no_column_of_the_input_is_overwritten(tiny_run: RunDir, tmp_path: Path, ranks: RankServer) -> None:
    rows = _jsonl(tmp_path / "in.jsonl", {"text": "fine"}, {"text": "fine", "prediction": "mine"})
    (problem,) = ranks.verb("predict", tiny_run.path, rows, code=2)["problems"]
    assert problem["message"] == "has a column prediction, which predictions would overwrite"
    assert problem["where"] == str(rows)
    _jsonl(rows, {"text": "fine", "rank": 1, "start": 2})
    assert ranks.verb("predict", tiny_run.path, rows, "--output", tmp_path / "out.csv")["rows"] == 1


def test_every_task_has_a_prediction_and_most_have_probabilities() -> None:
    def columns(task: str) -> tuple[str, ...]:
        return tasks.named(task).outputs

    assert columns("regression") == ("prediction",)
    assert columns("ranking") == ("prediction", "rank")
    assert columns("ordinal") == ("prediction", "probabilities")
    assert columns("question-answering") == ("prediction", "probabilities", "start", "end")
