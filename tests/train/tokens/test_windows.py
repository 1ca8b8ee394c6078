"""Windows of long texts: how many tokens they share, contradictions told before the launch, and questions that leave no room."""

from __future__ import annotations

from typing import Any

import pytest
from support.small_tokenizer import SmallTokenizer

from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import encode_texts
from launcher.train.tokens.encoder import Encoder, Windows

PAIR = {"text": ("question", "context"), "label": "answers"}


def recipe(task: str = "question-answering", **data: Any) -> Recipe:
    pair = PAIR if task == "question-answering" else {}
    return Recipe.model_validate({"task": task, "data": {**pair, "train": "x.json", **data}})


def numbers(first: int, count: int) -> str:
    return " ".join(map(str, range(first, first + count)))


def windows(text: Any, wanted: Recipe) -> Windows:
    cut: Any = "only_second" if wanted.task == "question-answering" else "longest_first"
    return Encoder.of(wanted, SmallTokenizer(), None).windows([text], wanted.data.stride, cut)


@pytest.mark.parametrize(
    ("task", "data", "most"),
    [
        ("question-answering", {"max_length": 64, "stride": 128}, 32),
        ("classification", {"max_length": 64, "stride": 128, "windows": "mean"}, 61),
        ("regression", {"max_length": 64, "stride": 30, "windows": "max", "text": ("a", "b")}, 29),
        ("classification", {"stride": 510, "windows": "mean"}, 509),
    ],
)
def test_a_stride_that_leaves_no_room_is_told_with_what_would(
    task: str, data: dict[str, Any], most: int
) -> None:
    def told(**changes: Any) -> list[str]:
        found = conflicts(recipe(task, **data | changes))
        return [conflict.remedy for conflict in found if conflict.fields[0] == "data.stride"]

    (remedy,) = told()
    assert remedy.startswith(f"use data.stride={most} or less")
    assert not told(stride=most)
    assert not told(stride=None)


def test_a_stride_that_nothing_uses_is_no_contradiction() -> None:
    for task in ("classification", "masked-lm"):
        found = conflicts(recipe(task, max_length=64, stride=128))
        assert "data.stride" not in [conflict.fields[0] for conflict in found]


@pytest.mark.parametrize("length", [5, 8, 16, 64])
@pytest.mark.parametrize("pair", [False, True])
def test_windows_overlap_by_a_third_unless_the_recipe_says_otherwise(length: int, pair: bool) -> None:
    data = {"max_length": length, "windows": "mean", "text": ("a", "b") if pair else "a"}
    text = numbers(0, 80)
    (parts,) = windows((text, text) if pair else text, recipe("classification", **data))
    assert {token for part in parts for token in part.tokens} >= set(text.split()), "no word is left out"
    if not pair and length == 64:
        first, second = (part.tokens[1:-1] for part in parts[:2])
        assert first[-21:] == second[:21]


def test_the_widest_stride_that_is_allowed_works() -> None:
    for data in ({"stride": 13}, {"stride": 5, "text": ("a", "b")}):
        wanted = recipe("classification", max_length=16, windows="mean", **data)
        assert not [c for c in conflicts(wanted) if c.fields[0] == "data.stride"]
        text = numbers(0, 40)
        assert windows((text, text) if "text" in data else text, wanted)[0]


@pytest.mark.parametrize("stride", [None, 1, 8])
def test_a_question_takes_half_of_a_window_at_most(stride: int | None) -> None:
    """[CLS] question [SEP] context [SEP]: of 16 tokens, 13 are theirs."""
    wanted = recipe(max_length=16, stride=stride)
    found = windows((numbers(0, 30), numbers(100, 20)), wanted)
    assert found.truncated == 1
    for part in found[0]:
        assert part.tokens[1:7] == ["0", "1", "2", "3", "4", "5"]
        assert part.tokens[7] == "[SEP]"
    assert {token for part in found[0] for token in part.tokens} >= set(numbers(100, 20).split())


def test_a_question_stays_whole_where_there_is_room() -> None:
    found = windows((numbers(0, 10), numbers(100, 3)), recipe(max_length=16))
    assert found.truncated == 0
    assert [len(part.tokens) for part in found[0]] == [16]


def test_an_example_whose_question_was_cut_is_encoded_with_the_others() -> None:
    rows = [Row({"question": numbers(0, count), "context": numbers(100, 20)}, count) for count in (2, 40, 3)]
    split = encode_texts(SmallTokenizer(), rows, recipe(max_length=16, stride=4))
    assert len(split) == 3
    assert split.sequences is not None
    alone = [encode_texts(SmallTokenizer(), [row], recipe(max_length=16, stride=4)).ids for row in rows]
    assert split.ids.tolist() == [token for ids in alone for token in ids.tolist()]
