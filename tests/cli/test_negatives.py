"""`launch predict RUN CORPUS --negatives K`: what it asks of the model, what it says, what it refuses before one is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.plans import new_run, plan_of, write_bare_model

from launcher.cli import execute
from launcher.cli import train_process as heavy
from launcher.runs.records import make
from launcher.runs.verb_results import Negatives

RANKING = {"task": "ranking", "data": {"text": ["query", "document"], "label": "relevance"}}
FOUND = {"output": "x.csv", "rows": 2, "queries": 1200, "documents": 9, "negatives": 7, "short": 1}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the verb that needs torch was asked for; it answers FOUND. There are a run of ranking and one of classes."""
    monkeypatch.chdir(tmp_path)
    for name, recipe in {"ranked": RANKING, "classes": {}}.items():
        run = new_run(plan_of({"executor": "local", **recipe}, run_dir=tmp_path / "runs" / name))
        write_bare_model(run.model)
        run.result.write_text('{"status": "completed"}')
    (tmp_path / "corpus.txt").write_text("one\ntwo\n")
    calls: list[list[str]] = []

    def run_verb(arguments: list[str], kind: type[Negatives]) -> Negatives:
        calls.append(list(arguments))
        return make(kind, FOUND, "the answer")

    monkeypatch.setattr(heavy, "run_verb", run_verb)
    return calls


def test_what_is_asked_and_told(
    asked: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "ranked", "corpus.txt", "--negatives", "3"]
    assert execute([*words, "--margin", "0.1", "--labelled"]) == 0
    told = capsys.readouterr()
    assert told.out == "x.csv\n"
    assert "7 negatives for 1,200 queries, out of 9 documents" in told.err
    assert "1 positives have fewer than 3" in told.err
    (call,) = asked
    assert call[:3] == ["negatives", str(tmp_path / "runs" / "ranked"), str(tmp_path / "corpus.txt")]
    assert call[3:8] == ["--count", "3", "--margin", "0.1", "--labelled"]
    assert call[8:10] == ["--output", str(tmp_path / "corpus.txt.negatives.csv")]
    assert execute([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FOUND


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ranked", "--text", "a", "--negatives", "3"], "--negatives needs a FILE"),
        (["ranked", "corpus.txt", "--margin", "0.1"], "--margin and --labelled go with --negatives K"),
        (["ranked", "corpus.txt", "--negatives", "0"], "0 is not in the range x>=1"),
        (["ranked", "gone.txt", "--negatives", "2"], "no such file"),
        (["ranked", "two.csv", "--negatives", "2"], "has no column 'document' with the documents"),
        (["ranked", "empty.txt", "--negatives", "2"], "holds no documents"),
        (["classes", "corpus.txt", "--negatives", "2"], "a model of task=classification can't say which"),
    ],
)
def test_what_can_not_be_is_told_before_a_model_is_loaded(
    words: list[str],
    message: str,
    asked: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "two.csv").write_text("id,passage\n1,one\n")
    (tmp_path / "empty.txt").write_text("\n\n")
    assert execute(["predict", *words]) == 2
    assert message in capsys.readouterr().err
    assert asked == []
    assert not list(tmp_path.glob("*.negatives.*"))
