"""Explanations of predictions: they add up, name whole words, and point at what decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.training import RankServer, make_run, recipe

from launcher.runs.directory import RunDir

TEXT = "By the river the cake was less perfect than we had hoped, even though the rice was really pleasant."


def explained(ranks: RankServer, run: RunDir, *words: str, code: int = 0) -> dict[str, Any]:
    result = ranks.verb("explain", run.path, *words, code=code)
    return result if code else result["explanations"][0]


@pytest.fixture(scope="module")
def explanation(tiny_run: RunDir, ranks: RankServer) -> dict[str, Any]:
    return explained(ranks, tiny_run, "--text", TEXT)


def test_the_parts_add_up_to_the_difference_of_the_logits(explanation: dict[str, Any]) -> None:
    """Completeness, proposition 1 of the paper."""
    total = sum(word["score"] for word in explanation["words"]) + explanation["rest"]
    difference = explanation["logit"] - explanation["masked_logit"]
    assert abs(difference) > 1e-3
    assert total == pytest.approx(difference, abs=0.01 * abs(difference) + 1e-5)
    assert explanation["rest"] == pytest.approx(0, abs=1e-6)


def test_tokens_are_put_together_to_words(explanation: dict[str, Any]) -> None:
    words = [word["text"] for word in explanation["words"]]
    assert words[:6] == ["By", "the", "river", "the", "cake", "was"]
    assert words[-1] == "."


def test_the_prediction_is_explained_unless_a_label_is_named(
    explanation: dict[str, Any], tiny_run: RunDir, ranks: RankServer
) -> None:
    (predicted,) = ranks.verb("predict", tiny_run.path, "--text", TEXT)["predictions"]
    assert explanation["label"] == predicted["prediction"]
    assert explanation["probability"] == pytest.approx(max(predicted["probabilities"].values()), abs=1e-5)
    other = ({"negative", "positive"} - {explanation["label"]}).pop()
    named = explained(ranks, tiny_run, "--text", TEXT, "--label", other)
    assert (named["label"], named["probability"]) == (
        other,
        pytest.approx(1 - explanation["probability"], abs=1e-5),
    )
    problem = explained(ranks, tiny_run, "--text", TEXT, "--label", "postive", code=2)["problems"][0]
    assert problem["message"] == "no such label"
    assert problem["remedy"].startswith("did you mean positive?")


def test_the_word_that_decides_stands_out(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """In data where one word alone decides, it gets the largest score."""
    rows = [f"the {'lovely' if i % 2 else 'dreadful'} cake number {i % 7},{i % 2}" for i in range(80)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    files = dict.fromkeys(("train", "validation"), str(tmp_path / "data.csv"))
    wanted = recipe(tiny_data, data={**files, "test": None}, train={"lr": 3e-3, "max_steps": 30})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    words = explained(ranks, run, "--text", "the dreadful cake number 3")["words"]
    assert max(words, key=lambda word: word["score"])["text"] == "dreadful"


def test_texts_are_mended_as_for_predictions(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted = recipe(tiny_data, data={"clean": {"html": True}}, train={"max_steps": 2}, eval={"every": None})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    found = explained(ranks, run, "--text", "the <b>river</b> &amp; rice")
    assert [word["text"] for word in found["words"]] == ["the", "river", "&", "rice"]


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_text_that_is_cut_into_windows_is_explained_as_it_is_predicted(
    pool: str, tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    data = {"windows": pool, "max_length": 12}
    wanted = recipe(tiny_data, data=data, train={"lr": 1e-2, "max_steps": 6}, eval={"every": None})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    found = explained(ranks, run, "--text", TEXT, "--label", "negative")
    (predicted,) = ranks.verb("predict", run.path, "--text", TEXT)["predictions"]
    assert found["probability"] == pytest.approx(predicted["probabilities"]["negative"], abs=1e-5)
    total = sum(word["score"] for word in found["words"]) + found["rest"]
    difference = found["logit"] - found["masked_logit"]
    assert total == pytest.approx(difference, abs=0.01 * abs(difference) + 1e-5)
    words = [word["text"] for word in found["words"]]
    if pool == "mean":
        assert words == TEXT.replace(",", " ,").replace(".", " .").split()
    else:  # one window has the highest logit, and no other word counts
        assert 0 < len(words) <= 10
        assert " ".join(words) in TEXT.replace(",", " ,").replace(".", " .")


def test_a_pair_and_a_score(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    rows = [f"word {i % 7} here,word {i % 5} there,{i % 3}.0" for i in range(40)]
    (tmp_path / "data.csv").write_text("one,two,score\n" + "\n".join(rows) + "\n")
    files = dict.fromkeys(("train", "validation"), str(tmp_path / "data.csv"))
    data = {**files, "test": None, "text": ["one", "two"], "label": "score"}
    wanted = recipe(tiny_data, task="regression", data=data, train={"max_steps": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    found = explained(ranks, run, "--text", "word 1 here", "--text", "word 2 there")
    assert [(word["text"], word["part"]) for word in found["words"]] == [
        ("word", 0), ("1", 0), ("here", 0), ("word", 1), ("2", 1), ("there", 1),
    ]  # fmt: skip
    assert (found["label"], found["probability"]) == (None, None)
