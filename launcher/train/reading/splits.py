"""Which rows are trained on, validated on and tested on: cuts, folds, groups and small subsets, all drawn by the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.errors import RunFailed
from launcher.reading.data_section import cut_fractions
from launcher.reading.files import split_sizes
from launcher.recipe.recipe import Recipe
from launcher.train.tokens.cache import SPLITS

Indices = NDArray[np.int64]

CUT, LIMIT, SHOTS = 0, 1, 2
"""What a stream of random numbers is for, beside the seed."""


@dataclass(frozen=True)
class Rows:
    """What is known of the rows of one source when it is decided which are used."""

    count: int
    classes: Indices | None = None
    """(count,) number of each row's class, where there are classes."""
    groups: Sequence[Any] = ()
    """(count,) value of data.group, where that is given."""
    texts: Sequence[int] = field(default_factory=tuple)
    """(count,) hash of each row's text, where data.clean.drop_leaked wants it."""


@dataclass(frozen=True)
class Part:
    """The rows of one split."""

    source: str
    """The split whose files they stand in."""
    rows: Indices
    """Their numbers there, ascending."""


def choose(recipe: Recipe, sources: dict[str, Rows]) -> dict[str, Part]:
    """For each split where its rows come from; RunFailed where nothing is left for one."""
    chosen = {name: Part(name, np.arange(rows.count)) for name, rows in sources.items()}
    chosen.update(_cut_train(recipe, sources["train"]))
    train = chosen["train"].rows
    if recipe.data.clean.drop_leaked:
        train = _without_leaks(train, chosen, sources)
    train = _subset(recipe, train, sources["train"].classes)
    if not len(train):
        raise RunFailed("data", "no training example is left", "see data.clean, data.split and data.fold")
    chosen["train"] = Part("train", train)
    return {split: chosen[split] for split in SPLITS if split in chosen}


def _cut_train(recipe: Recipe, train: Rows) -> dict[str, Part]:
    """The parts that the training rows are cut into, none where they are left whole."""
    data = recipe.data
    fractions = cut_fractions(data)
    if fractions is None:
        return {}
    strata = train.classes if data.stratify else None
    groups = None if data.group is None else _numbered(train.groups)
    if data.folds is not None:
        parts: tuple[Indices, ...] = fold(train.count, data.folds, data.fold, recipe.seed, strata, groups)
    elif groups is not None:
        parts = cut_groups(groups, fractions, recipe.seed, strata)
    else:
        parts = cut(train.count, fractions, recipe.seed, strata)
    cuts = {}
    for split, fraction, part in zip(SPLITS, fractions, parts, strict=False):
        if fraction > 0 and not len(part):
            raise _nothing_left(split, train, groups)
        if fraction > 0:
            cuts[split] = Part("train", part)
    return cuts


def _nothing_left(split: str, train: Rows, groups: Indices | None) -> RunFailed:
    text = f"data.split leaves no example for {split}: there are {train.count} rows"
    if groups is not None:
        text += f" in {len(np.unique(groups))} groups"
    return RunFailed("data", text, "give more data, a validation file, or other fractions")


def _numbered(values: Sequence[Any]) -> Indices:
    """Equal values get equal numbers."""
    number: dict[Any, int] = {}
    return np.fromiter((number.setdefault(value, len(number)) for value in values), np.int64, len(values))


def _without_leaks(train: Indices, chosen: dict[str, Part], sources: dict[str, Rows]) -> Indices:
    held_out = {
        sources[part.source].texts[row]
        for split, part in chosen.items()
        if split != "train"
        for row in part.rows.tolist()
    }
    texts = sources["train"].texts
    return np.array([row for row in train.tolist() if texts[row] not in held_out], np.int64)


def _subset(recipe: Recipe, train: Indices, classes: Indices | None) -> Indices:
    """data.shots rows of each class, or data.limit rows, where either is given."""
    shots, limit = recipe.data.shots, recipe.data.limit
    if shots is not None:
        if classes is None:
            text = f"data.shots counts examples of each class, and task={recipe.task} has none"
            raise RunFailed("data", text, "use data.limit")
        order = np.random.RandomState([recipe.seed, SHOTS]).permutation(len(train))
        of = classes[train][order]
        kept = np.concatenate([order[of == name][:shots] for name in np.unique(of)])
        few: Indices = train[np.sort(kept)]
        return few
    if limit is not None and limit < len(train):
        order = np.random.RandomState([recipe.seed, LIMIT]).permutation(len(train))
        return train[np.sort(order[:limit])]
    return train


def cut(
    count: int, fractions: Sequence[float], seed: int, strata: Indices | None = None
) -> tuple[Indices, Indices, Indices]:
    """Rows for train, validation and test: disjoint, ascending, as many as `split_sizes` says.

    A pure function of its arguments on every version of numpy (RandomState's stream is frozen). With `strata` (class
    of each row) every class is shared out in proportion, and one row of each stays in train where there is room.
    """
    sizes = split_sizes(count, fractions)
    pool = np.random.RandomState([seed, CUT]).permutation(count)
    kept = np.zeros(0, np.int64)
    if strata is not None:
        pool = pool[np.argsort(strata[pool], kind="stable")]
        first = np.unique(strata[pool], return_index=True)[1]
        if count - len(first) >= sizes[1] + sizes[2]:
            kept, pool = pool[first], np.delete(pool, first)
    parts = []
    for size in sizes[1:]:
        taken = _evenly(len(pool), size)
        parts.append(np.sort(pool[taken]))
        pool = np.delete(pool, taken)
    pool = np.concatenate([kept, pool])
    train = np.sort(pool[_evenly(len(pool), sizes[0])])
    return train, parts[0], parts[1]


def _evenly(count: int, size: int) -> Indices:
    """`size` places spread evenly over range(count)."""
    return ((np.arange(size) + 0.5) * count / max(size, 1)).astype(np.int64)


def cut_groups(
    groups: Indices, fractions: Sequence[float], seed: int, strata: Indices | None = None
) -> tuple[Indices, ...]:
    """Rows of each part, where the rows of a group (numbered from 0) stay together; sizes are as near as that allows.

    Groups are dealt from the largest to the smallest, each to the part that lacks most of the classes in it. What
    fractions that add up to less than 1 leave over is dealt to nobody.
    """
    classes = np.zeros_like(groups) if strata is None else np.unique(strata, return_inverse=True)[1]
    counts = np.zeros((int(groups.max()) + 1, int(classes.max()) + 1), np.int64)
    np.add.at(counts, (groups, classes), 1)
    order = np.random.RandomState([seed, CUT]).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    shares = np.append(np.array(fractions, np.float64), max(0.0, 1.0 - sum(fractions)))
    lacking = shares[:, None] * counts.sum(axis=0) / counts.sum(axis=0).clip(1)
    part_of = np.empty(len(counts), np.int64)
    for group in order.tolist():
        need = (lacking * counts[group]).sum(axis=1)
        part_of[group] = np.where(shares > 1e-9, need, -np.inf).argmax()
        lacking[part_of[group]] -= counts[group] / counts.sum(axis=0).clip(1)
    return tuple(np.flatnonzero(part_of[groups] == part) for part in range(len(fractions)))


def fold(
    count: int,
    folds: int,
    number: int,
    seed: int,
    strata: Indices | None = None,
    groups: Indices | None = None,
) -> tuple[Indices, Indices]:
    """Rows to train on and to validate on in fold `number` of `folds`; every row is validated on in just one of them."""
    if groups is not None:
        held_out = cut_groups(groups, [1 / folds] * folds, seed, strata)[number]
    else:
        pool = np.random.RandomState([seed, CUT]).permutation(count)
        if strata is not None:
            pool = pool[np.argsort(strata[pool], kind="stable")]
        held_out = np.sort(pool[number::folds])
    return np.setdiff1d(np.arange(count), held_out), held_out
