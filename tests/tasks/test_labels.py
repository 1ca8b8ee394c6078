"""What names of classes mean: one rule for numbers, and what is told where names look alike or stand together."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.tasks.shared.labels import (
    alike,
    are_several,
    class_mistake,
    class_name,
    class_numbers,
    classes_of,
    likely_delimiter,
    score,
    score_mistake,
    taken_for,
)


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0", " 1 ", "1.00"])
def test_a_whole_number_is_one_class_however_it_is_written(value: Any) -> None:
    assert class_name(value) == "1"


@pytest.mark.parametrize("value", ["01", "1.10", "v1.0", "1.5", "True"])
def test_codes_versions_and_words_stay_as_they_are(value: str) -> None:
    assert class_name(value) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, "", [], {}])
def test_what_names_no_class(value: Any) -> None:
    assert class_name(value) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1_5", "'1_5' is not a finite number"),
        ("inf", "'inf' is not a finite number"),
        (10**400, "is not a finite number"),
        ("1e39", "'1e39' is too large for fp32, which ends at 3.4e38"),
        (-4e38, "-4e+38 is too large for fp32, which ends at 3.4e38"),
    ],
)
def test_what_is_no_score(cell: Any, message: str) -> None:
    assert score(cell) is None
    assert (score_mistake(cell) or "").endswith(message)


@pytest.mark.parametrize("cell", ["3.4e38", -1, " 2.5 ", True])
def test_what_is_a_score(cell: Any) -> None:
    assert score(cell) == float(cell)
    assert score_mistake(cell) is None


def test_infinity_is_told_as_what_it_is() -> None:
    assert class_mistake(float("-inf")) == "-inf names no class"
    assert class_mistake(float("nan")) == "the label is empty"


def test_zero_has_no_sign() -> None:
    assert class_name("-0.0") == class_name(-0.0) == class_name("0.0") == "0"


def test_names_that_probably_mean_the_same_are_told() -> None:
    assert alike(["True", "1", "False", "0", "01"]) == [["True", "1", "01"], ["False", "0"]]
    assert alike(["Sport", "sport ", "news"]) == [["Sport", "sport "]]
    assert alike(["news", "ne\u200bws", "\ufeffsport"]) == [["news", "ne\u200bws"]]
    assert alike(["true", "false", "half-true", "9", "0 9"]) == []


@pytest.mark.parametrize("delimiter", [",", ";", "|", "/", "\uff0c", "#", "+", "&", " "])
def test_labels_that_consist_of_each_others_parts_name_what_separates_them(delimiter: str) -> None:
    names = [("4", "27"), ("27",), ("4",), ("2", "4"), ("2", "27"), ("2", "4", "27")]
    assert likely_delimiter([delimiter.join(name) for name in names]) == delimiter


def test_a_delimiter_behind_the_last_label_separates_nothing() -> None:
    names = ["joy;fear;", "joy;", "fear;", "fear;anger;", "anger;"]
    assert likely_delimiter(names) == ";"
    assert are_several(names, ";")


def test_labels_with_commas_of_their_own_are_whole() -> None:
    assert likely_delimiter(["New York, NY", "Austin, TX", "Reno, NV", "Rome"]) is None
    assert likely_delimiter(["joy", "fear"]) is None


@pytest.mark.parametrize(
    ("written", "classes"),
    [
        (["1", "0", "True"], ("0", "1")),
        (["1", "true", "FALSE"], ("0", "1")),
        (["true", "false"], ("false", "true")),
        (["true", "1", "2"], ("1", "2", "true")),
    ],
)
def test_booleans_are_numbers_beside_zero_and_one_alone(written: list[str], classes: tuple[str, ...]) -> None:
    assert classes_of(written) == classes


@pytest.mark.parametrize(
    ("name", "known", "taken"),
    [
        ("0", ("0.0", "1.0"), "0.0"),
        ("True", ("0.0", "1.0"), "1.0"),
        ("true", ("False", "True"), "True"),
        ("true", ("1", "2", "3"), None),
        ("1", ("False", "True"), None),
        ("01", ("0", "1"), None),
    ],
)
def test_classes_of_models_are_recognised_in_every_form(
    name: str, known: tuple[str, ...], taken: str | None
) -> None:
    assert taken_for(name, known) == taken
    assert class_numbers([name], known).get(name) == (None if taken is None else known.index(taken))


def test_names_are_several_labels_where_their_parts_stand_alone() -> None:
    assert are_several(["4", "27", "1", "4,27", "1,4"], ",")
    assert not are_several(["Books, Comics", "Books", "Music"], ",")
    assert not are_several(["a,b", "a,c", "b,c"], ",")
