"""Cuts by groups and folds, few shots: nothing twice, nothing lost, the same for a seed whatever else is asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_tokenizer import SmallTokenizer

from launcher.errors import RunFailed, UserError
from launcher.reading.check import check_data
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.dataset.prepare import prepare
from launcher.train.reading.splits import Part, Rows, choose, cut_groups, fold

CLASSES = np.array([0, 0, 0, 1] * 50)
GROUPS = [number // 5 for number in range(200)]


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate({"task": "classification", "data": {"train": "train.csv", **data}})


def parts(rows: Rows | None = None, **data: Any) -> dict[str, list[int]]:
    rows = rows or Rows(200, CLASSES, GROUPS)
    chosen = choose(recipe(**data), {"train": rows})
    assert all(part.source == "train" for part in chosen.values())
    return {split: part.rows.tolist() for split, part in chosen.items()}


def balance(rows: list[int]) -> float:
    return float(CLASSES[rows].mean())


def test_groups_never_straddle_a_cut() -> None:
    cuts = parts(group="author")
    groups = [{GROUPS[row] for row in rows} for rows in cuts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 40
    assert [len(rows) for rows in cuts.values()] == [140, 30, 30]
    assert cuts != parts(), "without the key they do straddle"


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), min_size=1, max_size=80), st.integers(0, 99))
def test_every_row_of_a_group_is_dealt_once(rows: list[tuple[int, int]], seed: int) -> None:
    groups = np.unique([group for group, _ in rows], return_inverse=True)[1]
    dealt = cut_groups(groups, (0.5, 0.25, 0.25), seed, np.array([name for _, name in rows]))
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(rows)))
    assert sum(len(set(groups[part])) for part in dealt) == len(set(groups))


def test_grouped_cuts_keep_proportions_too() -> None:
    classes = np.repeat([0, 0, 0, 1], 50)  # groups of one class each, the fourth quarter of class 1
    rows = Rows(200, classes, GROUPS)
    for part in parts(rows, group="author").values():
        assert classes[part].mean() == pytest.approx(0.25, abs=0.1)


def test_too_few_groups_are_said_to_be_too_few() -> None:
    with pytest.raises(RunFailed, match=r"leaves no example for validation: there are 200 rows in 2 groups"):
        parts(Rows(200, CLASSES, [0, 1] * 100), group="author")


def test_proportions_are_kept_unless_that_is_turned_off() -> None:
    assert [balance(rows) for rows in parts().values()] == pytest.approx([0.25] * 3, abs=0.02)
    drawn = [balance(rows) for rows in parts(stratify=False).values()]
    assert drawn != pytest.approx([0.25] * 3, abs=0.02)


@pytest.mark.parametrize("data", [{}, {"group": "author"}])
def test_each_row_is_validated_on_in_one_fold(data: dict[str, Any]) -> None:
    folds = [parts(folds=5, fold=number, **data) for number in range(5)]
    held_out = Counter(row for cuts in folds for row in cuts["validation"])
    assert held_out == Counter(range(200))
    for cuts in folds:
        assert sorted(cuts["train"] + cuts["validation"]) == list(range(200))
        assert len(cuts["validation"]) == 40
        assert balance(cuts["validation"]) == pytest.approx(0.25, abs=0.05)


def test_test_data_stay_with_folds() -> None:
    chosen = choose(recipe(folds=4, test="test.csv"), {"train": Rows(100), "test": Rows(7)})
    assert {split: (part.source, len(part.rows)) for split, part in chosen.items()} == {
        "train": ("train", 75),
        "validation": ("train", 25),
        "test": ("test", 7),
    }


def test_the_folds_of_a_seed_are_the_same_for_ever() -> None:
    assert fold(10, 3, 0, seed=42)[1].tolist() == [3, 4, 5, 9]
    assert cut_groups(np.arange(10) // 2, (0.6, 0.2, 0.2), seed=42)[1].tolist() == [6, 7]


def test_shots_are_drawn_of_each_class_after_the_cut() -> None:
    cuts, whole = parts(shots=3), parts()
    assert Counter(CLASSES[cuts["train"]].tolist()) == {0: 3, 1: 3}
    assert set(cuts["train"]) <= set(whole["train"])
    assert cuts["validation"] == whole["validation"]


def test_shots_need_classes() -> None:
    with pytest.raises(RunFailed, match=r"counts examples of each class"):
        parts(Rows(200), shots=3)


def test_what_is_held_out_is_not_trained_on() -> None:
    rows = Rows(20, None, (), [number % 10 for number in range(20)])
    cuts = parts(rows, clean={"drop_leaked": True})
    held_out = {row % 10 for split in ("validation", "test") for row in cuts[split]}
    assert held_out.isdisjoint(row % 10 for row in cuts["train"])
    assert cuts["train"]


def test_parts_are_told_apart_by_where_they_come_from() -> None:
    chosen = choose(recipe(validation="dev.csv"), {"train": Rows(3), "validation": Rows(2)})
    assert isinstance(chosen["validation"], Part)
    assert (chosen["validation"].source, chosen["validation"].rows.tolist()) == ("validation", [0, 1])


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        ({"folds": 3, "fold": 2}, (67, 33, None)),
        ({"group": "id"}, (None, None, None)),
        ({"shots": 5}, (10, 15, 15)),
        ({"augment": {"swap": 0.1, "copies": 2}}, (210, 15, 15)),
    ],
)
def test_the_plan_knows_the_sizes(
    tmp_path: Path, data: dict[str, Any], sizes: tuple[int | None, ...]
) -> None:
    train = tmp_path / "train.csv"
    train.write_text("id,text,label\n" + "".join(f"{n},text {n},{n % 2}\n" for n in range(100)))
    facts = check_data(recipe(**{**data, "train": str(train)}))
    assert (facts.train_examples, facts.validation_examples, facts.test_examples) == sizes


def test_a_column_of_groups_that_is_missing_is_named(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("text,label\na,1\nb,0\n")
    with pytest.raises(UserError, match=r"data.group=author: no such column in the file"):
        check_data(recipe(train=str(train), group="author"))


def test_a_list_is_no_group(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    rows = [{"text": f"text {n}", "label": n % 2, "g": n if n != 30 else [3]} for n in range(40)]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = recipe(train=str(train), group="g")
    with pytest.raises(UserError, match=r"train\.jsonl:31: data\.group=g: \[3\] is a list"):
        check_data(asked)
    # Deep in a large file only a node sees it.
    with pytest.raises(RunFailed, match=r"train\.jsonl:31: g: \[3\] is a list"):
        prepare(asked, SmallTokenizer(), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"folds": 5, "split": (0.8, 0.2)}, "validates on a fold, but data.split is given too"),
        ({"folds": 5, "validation": "dev.csv"}, "validates on a fold, but data.validation is given too"),
        ({"folds": 5, "fold": 5}, "there are 5 folds"),
        ({"fold": 1}, "is a number of data.folds"),
        ({"group": "id", "validation": "dev.csv"}, "keeps groups together when training data are cut"),
        ({"shots": 5, "limit": 10}, "both say how many examples"),
    ],
)
def test_keys_that_contradict_each_other(data: dict[str, Any], message: str) -> None:
    (found,) = [conflict for conflict in conflicts(recipe(**data)) if conflict.fields[0].startswith("data.")]
    assert message in found.message
