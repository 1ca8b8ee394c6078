"""From words with several values to the points of a grid."""

from __future__ import annotations

import pytest

from launcher.errors import UserError
from launcher.sweeps.grid import points, split_words


def test_commas_outside_brackets_and_quotes_and_ranges_make_values() -> None:
    fixed, axes = split_words(
        [
            "recipe=a,b.yaml",
            "train.lr=1e-5,2e-5",
            "seed=1..3",
            "data.text=[a,b]",
            'description="x, y"',
            "nodes=2",
        ]
    )
    assert fixed == ["recipe=a,b.yaml", "data.text=[a,b]", 'description="x, y"', "nodes=2"]
    assert axes == {"train.lr": ("1e-5", "2e-5"), "seed": ("1", "2", "3")}
    assert list(points(axes)) == [
        [f"train.lr={lr}", f"seed={seed}"] for lr in ("1e-5", "2e-5") for seed in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("data.text=[a],[a,b]", ("[a]", "[a,b]")),
        ("seed=3,1..2,7", ("3", "1", "2", "7")),
        ("seed=1,1,2", ("1", "2")),
        ("train.warmup=0,0.1", ("0", "0.1")),
        ("train.clip=null,1.0", ("null", "1.0")),
    ],
)
def test_values_of_one_key(word: str, values: tuple[str, ...]) -> None:
    _, axes = split_words([word])
    assert axes[word.partition("=")[0]] == values


@pytest.mark.parametrize(
    ("word", "told"), [("seed=5..1", "is no range"), ("seed=1..99999999999", "more than 10,000 numbers")]
)
def test_a_range_must_lead_somewhere(word: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        split_words([word])


def test_a_grid_that_nobody_means_is_refused() -> None:
    with pytest.raises(UserError, match="1,000,000 trials"):
        split_words(["seed=1..100", "train.lr=" + ",".join(f"{n}e-6" for n in range(1, 101)), "nodes=1..100"])


@pytest.mark.parametrize("words", [["seed=1,2", "seed=3,4"], ["seed=1,2", "seed=3"]])
def test_a_key_has_its_values_in_one_word(words: list[str]) -> None:
    """Else the first of them would be forgotten in silence."""
    with pytest.raises(UserError, match=r"seed=3.*is given twice"):
        split_words(words)
