"""What a search draws from, and the points that it draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.sweeps.optuna_draws import JOURNAL, Study, draw
from launcher.sweeps.space import Choice, Domain, Interval, described, split_space, words_of

LR = Interval(1e-6, 1e-4, is_log=True, is_whole=False)
SPACE: dict[str, Domain] = {"train.lr": LR, "train.optimizer": Choice(("adamw", "lamb"))}


def test_ranges_and_values_are_drawn_from_and_the_rest_is_fixed() -> None:
    words = [
        "recipe=a,b.yaml",
        "train.lr=1e-6..1e-4:log",
        "train.clip=0..1.5",
        "batch.global=8..64",
        "nodes=2",
    ]
    fixed, space = split_space([*words, "data.text=[a],[a,b]", "model.dropout.hidden=0..1"])
    assert fixed == ["recipe=a,b.yaml", "nodes=2"]
    assert space == {
        "train.lr": LR,
        "train.clip": Interval(0, 1.5, is_log=False, is_whole=False),
        "batch.global": Interval(8, 64, is_log=False, is_whole=True),
        "data.text": Choice(("[a]", "[a,b]")),
        "model.dropout.hidden": Interval(0, 1, is_log=False, is_whole=False),
    }


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train.lr=1e-3..1e-5", "below its second"),
        ("train.lr=0..1:log", "above 0"),
        ("train.lr=1e-5,1e-4..1e-3", "values and a range"),
        ("train.lr=0..1e300", "numbers up to"),
        ("seed=1..3", "chosen by its luck"),
        ("train.lr=1e-5", "nothing to search over"),
        ("train.lr=1..2 train.lr=1..3", "given twice"),
        ("train.lr=1..2 train.lr=1", "given twice"),
    ],
)
def test_a_space_that_nobody_means_is_refused(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        split_space(word.split())


def test_numbers_have_few_digits_and_stay_in_their_range() -> None:
    assert words_of(SPACE, {"train.lr": 3.14159265e-05, "train.optimizer": "lamb"}) == [
        "train.lr=3.142e-05",
        "train.optimizer=lamb",
    ]
    narrow = Interval(1.00001, 1.00002, is_log=False, is_whole=False)
    assert words_of({"x": narrow}, {"x": 1.000015}) == ["x=1.00001"]


def test_the_same_space_draws_the_same_points_and_more_of_them_begin_alike() -> None:
    few, more = draw(SPACE, 5), draw(SPACE, 8)
    assert few == more[:5]
    assert len({point["train.lr"] for point in more}) == 8
    assert all(1e-6 <= float(point["train.lr"]) <= 1e-4 for point in more)
    assert described(SPACE) == described(dict(reversed(SPACE.items())))
    assert draw({"train.lr": Interval(1e-6, 1e-3, is_log=True, is_whole=False)}, 1) != few[:1]


def test_a_search_that_is_taken_up_again_knows_what_it_asked_and_was_told(tmp_path: Path) -> None:
    whole = Study(tmp_path, SPACE, higher_is_better=True)
    first, second = whole.ask(), whole.ask()
    whole.tell(0, 0.5)
    again = Study(tmp_path, SPACE, higher_is_better=True)
    assert again.asked() == {0: first, 1: second}
    assert again.open() == {1: second}
    third = again.ask()

    (tmp_path / "uninterrupted").mkdir()
    other = Study(tmp_path / "uninterrupted", SPACE, higher_is_better=True)
    assert [other.ask(), other.ask()] == [first, second]
    other.tell(0, 0.5)
    assert other.ask() == third


def test_a_point_that_was_half_asked_for_is_dropped(tmp_path: Path) -> None:
    Study(tmp_path, SPACE, higher_is_better=True).ask()
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(lines[:-1]))
    again = Study(tmp_path, SPACE, higher_is_better=True)
    assert (again.asked(), again.count()) == ({}, 0)


def test_a_search_learns(tmp_path: Path) -> None:
    """After 20 results, points lie nearer to the best one than those that were drawn at random."""
    study = Study(tmp_path, {"x": Interval(0, 1, is_log=False, is_whole=False)}, higher_is_better=False)
    far = []
    for number in range(30):
        far.append(abs(float(study.ask()["x"]) - 0.3))
        study.tell(number, far[-1])
    assert sum(far[20:]) < sum(far[:10]) / 2
