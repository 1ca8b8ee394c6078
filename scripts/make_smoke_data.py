#!/usr/bin/env python3
"""Write the data set of the smoke recipe: restaurant reviews of one sentence, each negative or positive as a whole.

    python scripts/make_smoke_data.py [DIRECTORY]       default: recipes/smoke

Sentences are made from a small grammar whose parts are written here, so they belong to this project. Single words don't give
the label away: negation turns a word round, a comparison does so by its second half, and of two clauses that disagree the
connective says which one counts. No sentence stands in two files. The same seed writes the same bytes.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

SEED = 20_240_607
SIZES = {"train": 2400, "validation": 300, "test": 300}
LABELS = ("negative", "positive")

THINGS = (
    "soup", "bread", "fish", "salad", "coffee", "dessert", "wine", "service", "waiter", "kitchen", "menu", "music", "terrace",
    "table", "view", "price", "breakfast", "cake", "sauce", "rice",
)  # fmt: skip
ADJECTIVES = (
    ("awful", "bad", "bland", "disappointing", "dreadful", "dull", "horrible", "mediocre", "poor", "sad", "terrible",
     "unpleasant"),
    ("brilliant", "charming", "delightful", "excellent", "fine", "good", "great", "lovely", "perfect", "pleasant", "superb",
     "wonderful"),
)  # fmt: skip
VERBS = (
    ("disliked", "hated", "regretted"),
    ("adored", "enjoyed", "loved"),
)
ADVERBS = ("", "", "", "really ", "rather ", "simply ", "very ", "truly ")
NEGATIONS = ("not", "not at all", "never", "hardly", "anything but", "far from", "by no means")
NOT_VERBS = (
    ("did not enjoy", "never liked", "could not recommend"),
    ("did not mind", "never regretted", "could not fault"),
)
PEOPLE = ("we", "I", "my sister", "our friends", "the children", "my parents")
OPENINGS = (
    "", "", "", "", "on Sunday ", "last week ", "this time ", "in the end ", "at lunch ", "by the river ",
)  # fmt: skip


def make_clause(rng: Random, label: int) -> str:
    """A clause about one thing that is negative (0) or positive (1)."""
    return rng.choice(CLAUSES)(rng, label)


def make_sentence(rng: Random, label: int) -> str:
    """A sentence of one or two clauses whose verdict is `label`."""
    opening = rng.choice(OPENINGS)
    verdict = make_clause(rng, label)
    kind = rng.randrange(8)
    if kind < 3:
        text = opening + verdict
    elif kind == 3:
        text = f"{opening}{verdict}, and {make_clause(rng, label)}"
    else:
        other = make_clause(rng, 1 - label)
        text = (
            f"{opening}{other}, but {verdict}",
            f"{opening}{other}; still, {verdict}",
            f"although {other}, {verdict}",
            f"{opening}{verdict}, even though {other}",
        )[kind - 4]
    return text[0].upper() + text[1:] + rng.choice((".", ".", ".", "!"))


def _plain(rng: Random, label: int) -> str:
    return f"the {rng.choice(THINGS)} was {rng.choice(ADVERBS)}{rng.choice(ADJECTIVES[label])}"


def _negated(rng: Random, label: int) -> str:
    return f"the {rng.choice(THINGS)} was {rng.choice(NEGATIONS)} {rng.choice(ADJECTIVES[1 - label])}"


def _compared(rng: Random, label: int) -> str:
    ending = ("we had hoped", "we had feared")[label]
    return f"the {rng.choice(THINGS)} was less {rng.choice(ADJECTIVES[1 - label])} than {ending}"


def _felt(rng: Random, label: int) -> str:
    return f"{rng.choice(PEOPLE)} {rng.choice(VERBS[label] + NOT_VERBS[label])} the {rng.choice(THINGS)}"


CLAUSES: tuple[Callable[[Random, int], str], ...] = (_plain, _plain, _negated, _compared, _felt)


def make_rows() -> dict[str, list[tuple[str, str]]]:
    """Rows (text, label) of each file; labels alternate, and no text comes twice."""
    rng = Random(SEED)
    seen: set[str] = set()
    rows: dict[str, list[tuple[str, str]]] = {}
    for name, size in SIZES.items():
        rows[name] = []
        while len(rows[name]) < size:
            label = len(rows[name]) % 2
            text = make_sentence(rng, label)
            if text.lower() not in seen:
                seen.add(text.lower())
                rows[name].append((text, LABELS[label]))
    return rows


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in make_rows().items():
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[1] / "recipes" / "smoke"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
