"""data.clean: texts are mended and rows left out alike in training and in predictions, and only where that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recipes import recipe
from support.small_tokenizer import SmallTokenizer

from launcher import tasks
from launcher.reading.check import check_data
from launcher.reading.cleaning import cleaner, mend, oddities, stretch_given, traced
from launcher.recipe.data import Clean
from launcher.tasks.shared.rows import Row
from launcher.train.dataset.prepare import Dataset, encode_texts, prepare

Make = Callable[..., Dataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(train: str, validation: str = "text,label\na,1\nb,0\n", **data: Any) -> Dataset:
        files = {"train": train, "validation": validation}
        for name, content in files.items():
            (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
        asked = recipe(**{name: str(tmp_path / f"{name}.csv") for name in files}, **data)
        made = prepare(asked, SmallTokenizer(), cache_dir=tmp_path / "cache")
        assert check_data(asked).train_examples in (len(made.train), None), (
            "the plan knows the number of examples"
        )
        return made

    return make


def words(data: Dataset) -> list[str]:
    split, decode = data.train, SmallTokenizer().backend_tokenizer.decode
    ranges = zip(split.offsets[:-1], split.offsets[1:], strict=True)
    return [decode(split.ids[start:end].tolist()) for start, end in ranges]


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("html", "<p class='x'>a</p>b<br/>c <b>d</b>&amp;&#20013;", " a b c d&中"),
        ("html", "if a<b and c>d or e<f: AT&T", "if a<b and c>d or e<f: AT&T"),
        ("html", "<script>a<b</script>c<!-- d -->e", " c e"),
        ("control", "a\u200bb\x00c\ufffdd\te\ufeff", "abcd\te"),
        ("control", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("nfkc", "\uff21\uff22\uff11\uff0c\ufb01", "AB1,fi"),
        ("whitespace", " a \t\u3000b\n", "a b"),
    ],
)  # fmt: skip
def test_each_key_mends_one_thing(key: str, before: str, after: str) -> None:
    assert mend(before, Clean.model_validate({key: True})) == after
    assert mend(before, Clean()) == before


TAGS = ["<p>", "<b x='1'>", "</b>", "&amp;", "&#233;", "<!-- a -->"]
ODD = [*"\u200b\ufffd\u3000\u0301\u0327\ufb01\uff21\u1100\u1161\u11a8\ufdfa\u09c7\u09be\uff76\uff9eae中 "]
"""Characters that NFKC takes apart or puts together, and some that are cleaned away."""


@given(st.lists(st.sampled_from(TAGS + ODD) | st.characters(exclude_categories=("Cs",))).map("".join))
def test_every_character_of_a_mended_text_knows_where_it_comes_from(text: str) -> None:
    everything = Clean(html=True, control=True, nfkc=True, whitespace=True)
    mended, origins = traced(text, everything)
    assert mended == mend(text, everything)
    assert len(origins) == len(mended)
    assert all(0 <= start < end <= len(text) for start, end in origins)
    assert origins == sorted(origins)


def test_a_stretch_of_a_mended_text_is_found_in_the_given_one() -> None:
    text = "<p>&amp; so</p> <b>Anna</b> \ufb01nds  Cafe\u0301"
    clean = Clean(html=True, nfkc=True, whitespace=True)
    mended = mend(text, clean)
    for word, as_given in (("&", "&amp;"), ("Anna", "Anna"), ("fi", "\ufb01"), ("Café", "Cafe\u0301")):
        start = mended.index(word)
        first, last = stretch_given(text, start, start + len(word), clean)
        assert text[first:last] == as_given


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<br>", "html"),
        ("caf\u00c3\u00a9", "mojibake"),
        ("don\u00e2\u20ac\u2122t", "mojibake"),
        ("\ufffd", "replacement"),
        ("锟斤拷", "replacement"),
        ("a\u200bb", "control"),
        ("\uff21\uff22", "wide"),
    ],
)
def test_what_is_odd_is_named(text: str, found: str) -> None:
    assert [kind for kind, _ in oddities(text)] == [found]


@pytest.mark.parametrize(
    "text", ["été, Ärger, ÇÃO, £5, ½", "你好\uff0c世界\uff01", "a < b & c > d", "Ωμέγα Ђорђе"]
)
def test_ordinary_texts_are_not_odd(text: str) -> None:
    assert not list(oddities(text))


def test_nothing_is_changed_by_default(make: Make) -> None:
    assert words(make("text,label\n<b>a</b>,1\nb,0\n")) == ["", "b"], "<b>a</b> is an unknown word"


def test_training_texts_are_mended(make: Make) -> None:
    data = make("text,label\n<b>a</b>&#32;c,1\nb,0\n", clean={"html": True})
    assert words(data) == ["a c", "b"]


def test_what_is_mended_is_in_the_fingerprint(make: Make) -> None:
    train = "text,label\na,1\nb,0\n"
    prints = {make(train, clean=clean).fingerprint for clean in ({}, {"html": True}, {"drop_empty": True})}
    assert len(prints) == 3


def test_predictions_are_mended_as_training_was() -> None:
    asked = recipe(clean={"html": True})
    split = encode_texts(SmallTokenizer(), [Row({"text": "<b>a</b>"}, 1), Row({"text": ""}, 2)], asked)
    assert split.ids.tolist() == [2, 4, 3, 2, 3], "and no row is left out"


def test_empty_and_double_rows_are_left_out(make: Make) -> None:
    train = "text,label\na,1\n ,0\nb,0\na,1\na,0\n"
    assert words(make(train, clean={"drop_empty": True})) == ["a", "b", "a", "a"]
    assert words(make(train, clean={"drop_duplicates": True})) == ["a", "", "b", "a"], (
        "a with another label stays"
    )


def test_rows_that_are_validated_on_are_not_trained_on(make: Make) -> None:
    train = "text,label\na,1\nb,0\nc,0\nd,1\n"
    assert words(make(train, "text,label\na,0\nd,1\n", clean={"drop_leaked": True})) == ["b", "c"]


def test_words_and_tags_stay_together() -> None:
    row = Row({"text": ["<b>EU</b>", "\u200b", "x"], "label": ["B-ORG", "O", "O"]}, 1)
    mended = cleaner(recipe("token-classification", clean={"html": True, "control": True}))(row)
    assert mended.values == {"text": ["EU", "\u200b", "x"], "label": ["B-ORG", "O", "O"]}


def test_answers_move_with_their_context() -> None:
    context = "<p>Bob met Ann.</p> <p>Ann &amp; Eve left.</p>"
    row = Row(
        {
            "question": "Who?",
            "context": context,
            "answers": [{"text": "Ann &amp; Eve", "answer_start": context.index("Ann &")}],
        },
        1,
    )
    asked = recipe(
        "question-answering",
        text=("question", "context"),
        label="answers",
        clean={"html": True, "whitespace": True},
    )
    values = cleaner(asked)(row).values
    assert values["context"] == "Bob met Ann. Ann & Eve left."
    assert values["answers"] == [{"text": "Ann & Eve", "answer_start": 13}]


def test_an_answer_that_begins_with_a_blank_is_found_behind_it() -> None:
    row = Row(
        {"question": "?", "context": "Bob met  Ann", "answers": [{"text": " Ann", "answer_start": 8}]}, 1
    )
    asked = recipe(
        "question-answering", text=("question", "context"), label="answers", clean={"whitespace": True}
    )
    values = cleaner(asked)(row).values
    assert values["answers"] == [{"text": "Ann", "answer_start": 8}]


def test_a_choice_given_by_its_text_is_mended_with_it() -> None:
    asked = recipe("multiple-choice", choices=("one", "two"), clean={"html": True})
    row = Row({"text": "?", "one": "<i>x</i>", "two": "y", "label": "<i>x</i>"}, 1)
    assert cleaner(asked)(row).values == {"text": "?", "one": "x", "two": "y", "label": "x"}


def test_choices_that_are_objects_are_mended_in_their_texts() -> None:
    asked = recipe("multiple-choice", choices="options", clean={"html": True})
    options = [{"label": "A", "text": "<b>one</b>"}, {"label": "B", "text": "two"}]
    row = cleaner(asked)(Row({"text": "what", "options": options, "label": "A"}, 1))
    assert row.values["options"] == [{"label": "A", "text": "one"}, {"label": "B", "text": "two"}]
    assert tasks.of(asked).choices_of(row) == ["one", "two"]


def test_a_novel_with_its_markup(shared_data: Path) -> None:
    """`<p>` and `<br/>` of the file are gone and nothing else is."""
    text = (shared_data / "sanguoyanyi/sanguoyanyi.txt").read_text(encoding="utf-8")
    mended = mend(text, Clean(html=True))
    assert "<" in text
    assert "<" not in mended
    assert mended.count("诸葛亮") == text.count("诸葛亮") == 156
