"""Metrics of entities, and which tags may follow each other, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from launcher.runs.examination import ClassFigures
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
        counts = [table.total() if kind is None else table[kind] for table in tables]
        return _scores(np.array(counts, np.int64))

    def table(self, kinds: Sequence[str]) -> list[list[int]]:
        """(kinds, 4) the counts as numbers."""
        tables = (self.gold, self.predicted, self.gold_found, self.predicted_right)
        return [[table[kind] for table in tables] for kind in kinds]


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


def entity_figures(
    gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme
) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of each type of entity, strict; those without a type are called `entity`."""
    counts = Counts()
    for truth, guess in zip(gold, predicted, strict=True):
        counts.add(entities(truth, scheme), strict_entities(guess, scheme), lenient=False)
    return tuple(
        ClassFigures(kind or "entity", *counts.scores(kind), counts.gold[kind], counts.predicted[kind])
        for kind in sorted(counts.gold | counts.predicted)
    )


@dataclass(frozen=True)
class SentenceCounts:
    """Counts of n sentences, by which the metrics of any draw of them are sums."""

    kinds: Sequence[str]
    strict: NDArray[np.int64]
    """(n, kinds, 4): gold, predicted, gold found, predicted rightly."""
    lenient: NDArray[np.int64]
    words: NDArray[np.int64]
    """(n, 2): words tagged rightly, words."""

    def metrics(self, chosen: NDArray[np.int64]) -> dict[str, float]:
        """Those of `entity_metrics` over these sentences."""
        strict, lenient = self.strict[chosen].sum(axis=0), self.lenient[chosen].sum(axis=0)
        right, words = self.words[chosen].sum(axis=0)
        precision, recall, f1 = _scores(strict.sum(axis=0))
        found = {"f1": f1, "precision": precision, "recall": recall}
        found |= {"lenient_f1": _scores(lenient.sum(axis=0))[2], "accuracy": right / max(words, 1)}
        for index, kind in enumerate(self.kinds):
            if kind:
                found[f"f1/{kind}"] = _scores(strict[index])[2]
                found[f"lenient_f1/{kind}"] = _scores(lenient[index])[2]
        return found


def sentence_counts(gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme) -> SentenceCounts:
    """The counts of each sentence alone."""
    strict, lenient, words = [], [], []
    for truth, guess in zip(gold, predicted, strict=True):
        real, both = entities(truth, scheme), (Counts(), Counts())
        both[0].add(real, strict_entities(guess, scheme), lenient=False)
        both[1].add(real, entities(guess, scheme), lenient=True)
        strict.append(both[0])
        lenient.append(both[1])
        words.append((sum(one == other for one, other in zip(truth, guess, strict=True)), len(truth)))
    kinds = sorted({kind for counts in strict for kind in counts.gold | counts.predicted})
    tables = [np.array([each.table(kinds) for each in side], np.int64) for side in (strict, lenient)]
    return SentenceCounts(kinds, tables[0], tables[1], np.array(words, np.int64))


def _scores(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    gold, predicted, found, right = map(int, counts)
    precision, recall = right / max(predicted, 1), found / max(gold, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-300)


def _accuracy(gold: Sequence[Tags], predicted: Sequence[Tags]) -> float:
    right = sum(
        tag == guess
        for truth, guesses in zip(gold, predicted, strict=True)
        for tag, guess in zip(truth, guesses, strict=True)
    )
    return right / max(sum(map(len, gold)), 1)
