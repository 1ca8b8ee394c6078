"""What names of classes mean: one rule for numbers, and what is told where names look alike or stand together."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.tasks.shared.labels import alike, class_name, likely_delimiter


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0", " 1 ", "1.00"])
def test_a_whole_number_is_one_class_however_it_is_written(value: Any) -> None:
    assert class_name(value) == "1"


@pytest.mark.parametrize("value", ["01", "1.10", "v1.0", "1.5", "True"])
def test_codes_versions_and_words_stay_as_they_are(value: str) -> None:
    assert class_name(value) == value


def test_zero_has_no_sign() -> None:
    assert class_name("-0.0") == class_name(-0.0) == class_name("0.0") == "0"


def test_names_that_probably_mean_the_same_are_told() -> None:
    assert alike(["True", "1", "False", "0", "01"]) == [["True", "1", "01"], ["False", "0"]]
    assert alike(["Sport", "sport ", "news"]) == [["Sport", "sport "]]
    assert alike(["true", "false", "half-true", "9", "0 9"]) == []


@pytest.mark.parametrize("delimiter", [",", ";", "|", "/", " "])
def test_labels_that_consist_of_each_others_parts_name_what_separates_them(delimiter: str) -> None:
    names = [("4", "27"), ("27",), ("4",), ("2", "4"), ("2", "27"), ("2", "4", "27")]
    assert likely_delimiter([delimiter.join(name) for name in names]) == delimiter


def test_labels_with_commas_of_their_own_are_whole() -> None:
    assert likely_delimiter(["New York, NY", "Austin, TX", "Reno, NV", "Rome"]) is None
    assert likely_delimiter(["joy", "fear"]) is None
