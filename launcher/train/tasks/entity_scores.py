"""Metrics of entities, and which tags may follow each other, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from launcher.tasks.shared.tagging import Entity, Scheme, entities, follows, strict_entities

Tags = Sequence[str]


def legal_steps(names: Sequence[str], scheme: Scheme) -> NDArray[np.bool_]:
    """(L + 2, L): whether tag j may follow tag i; in the last two rows whether it may begin, and end, a sentence."""
    rows = [[follows(before, after, scheme) for after in names] for before in names]
    first = [follows(None, name, scheme) for name in names]
    last = [follows(name, None, scheme) for name in names]
    return np.array([*rows, first, last], dtype=bool)


@dataclass
class Counts:
    """How many entities of each type there are, how many are predicted, and how many of either are found again."""

    gold: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    gold_found: Counter[str] = field(default_factory=Counter)
    predicted_right: Counter[str] = field(default_factory=Counter)

    def add(self, gold: Sequence[Entity], predicted: Sequence[Entity], lenient: bool) -> None:
        """Count one sentence."""
        match = _overlap if lenient else _equal
        self.gold.update(entity.type for entity in gold)
        self.predicted.update(entity.type for entity in predicted)
        self.gold_found.update(one.type for one in gold if any(match(one, other) for other in predicted))
        self.predicted_right.update(one.type for one in predicted if any(match(one, other) for other in gold))

    def scores(self, kind: str | None = None) -> tuple[float, float, float]:
        """Precision, recall and F1 of one type, or of all entities together; 0 where there is nothing to divide by."""
        tables = (self.gold, self.predicted, self.gold_found, self.predicted_right)
        gold, predicted, found, right = (table.total() if kind is None else table[kind] for table in tables)
        precision, recall = right / max(predicted, 1), found / max(gold, 1)
        return precision, recall, 2 * precision * recall / max(precision + recall, 1e-300)


def _equal(one: Entity, other: Entity) -> bool:
    return one == other


def _overlap(one: Entity, other: Entity) -> bool:
    return one.type == other.type and one.start < other.end and other.start < one.end


def entity_metrics(gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme) -> dict[str, float]:
    """Metrics over sentences.

    Strict ones count an entity where its words, its type and every tag are right; lenient ones where it overlaps one of
    its type. `f1/TYPE` and `lenient_f1/TYPE` are those of one type, the others are over all entities together (micro).
    `accuracy` is that of the words.
    """
    strict, lenient = Counts(), Counts()
    for truth, guess in zip(gold, predicted, strict=True):
        real = entities(truth, scheme)
        strict.add(real, strict_entities(guess, scheme), lenient=False)
        lenient.add(real, entities(guess, scheme), lenient=True)
    precision, recall, f1 = strict.scores()
    found = {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "lenient_f1": lenient.scores()[2],
        "accuracy": _accuracy(gold, predicted),
    }
    for kind in filter(None, sorted(strict.gold | strict.predicted)):
        found[f"f1/{kind}"] = strict.scores(kind)[2]
        found[f"lenient_f1/{kind}"] = lenient.scores(kind)[2]
    return found


def _accuracy(gold: Sequence[Tags], predicted: Sequence[Tags]) -> float:
    right = sum(
        tag == guess
        for truth, guesses in zip(gold, predicted, strict=True)
        for tag, guess in zip(truth, guesses, strict=True)
    )
    return right / max(sum(map(len, gold)), 1)
