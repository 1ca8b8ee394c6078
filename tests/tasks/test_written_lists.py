"""Lists that stand as text in the cells of csv files."""

from __future__ import annotations

import pytest

from launcher.tasks.shared.answers import Answer, answers
from launcher.tasks.shared.labels import class_names
from launcher.tasks.shared.words import joined, tags, words
from launcher.tasks.shared.written_lists import looks_written


@pytest.mark.parametrize(
    "written",
    [
        *("['Anna', 'saw']", '["Anna", "saw"]', "['Anna' 'saw']", "['Anna'\n 'saw']", " [ 'Anna',\"saw\" ] "),
        *("('Anna', 'saw')", "('Anna', 'saw',)", "array(['Anna', 'saw'], dtype=object)"),
    ],
)
def test_lists_of_python_json_and_numpy_are_lists(written: str) -> None:
    assert words(written) == ["Anna", "saw"]
    assert tags(written) == ("Anna", "saw")
    assert class_names(written, "|") == ("Anna", "saw")


def test_words_with_quotes_blanks_and_escapes_stay_whole() -> None:
    assert words("[\"it's\", 'New York', '\\xa0', 'a\\\\b']") == ["it's", "New York", "\xa0", "a\\b"]


def test_numbers_are_tags_and_no_words() -> None:
    assert tags("[1, 0, 2]") == ("1", "0", "2")
    assert words("[1, 0]") == ["[1,", "0]"]


@pytest.mark.parametrize(
    "broken",
    ["['Anna', 'saw'", "['a', None]", "['a', ...]", "['a' + 'b']", '["a": 1]', '["a",' + "[" * 100_000],
)
def test_what_begins_as_a_list_and_is_none_is_refused(broken: str) -> None:
    assert words(broken) is None
    assert tags(broken) is None


@pytest.mark.parametrize(
    "text", ["[ Anna ] saw Rome", "[laughs]", "[1] see below", "('Twas late)", "array([1]) is one"]
)
def test_texts_in_brackets_stay_texts(text: str) -> None:
    assert words(text) == text.split()


@pytest.mark.parametrize(
    "written",
    [
        "{'text': ['Bob'], 'answer_start': [8]}",
        '{"text": ["Bob"], "answer_start": [8]}',
        '[{"text": "Bob", "answer_start": 8}]',
        "{'text': array(['Bob'], dtype=object), 'answer_start': array([8], dtype=int32)}",
        "{'text': array(['Bob'],\n      dtype=object), 'answer_start': array([8])}",
    ],
)
def test_answers_of_a_csv_cell_are_read(written: str) -> None:
    assert answers(written) == (Answer("Bob", 8),)
    assert answers("{'text': array(['Bob'])}") is None


def test_chinese_words_are_joined_without_blanks() -> None:
    assert joined(["鲁", "迅"]) == "鲁迅"
    assert joined(["New", "York"]) == "New York"


def test_tags_as_stack_overflow_has_them_are_a_list_that_is_not_read() -> None:
    assert looks_written("<python><pandas>")
    assert not looks_written("<python>")
