"""Whether a difference between two trainings is more than chance: a test without assumptions on how metrics scatter."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEST = "sign-flip permutation test, two-sided, paired over common seeds or folds"
MOST_EXACT = 16
"""Pairs of which every choice of signs is looked at; of more, DRAWS of them."""
DRAWS = 50_000


@dataclass(frozen=True)
class Difference:
    """One training against another, over the seeds and folds that both were run with."""

    mean: float
    """Of the differences of the metric, in the metric's own unit."""
    seeds: int
    """How many of them, folds included."""
    p: float
    """How often differences would be as large if their signs were chance."""


def difference(one: Mapping[Any, float], other: Mapping[Any, float]) -> Difference | None:
    """`one` minus `other`, each a metric by seed or fold; None where they have fewer than two in common."""
    common = sorted(one.keys() & other.keys())
    differences = [one[each] - other[each] for each in common]
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    mean = math.fsum(differences) / len(differences)
    return Difference(mean, len(differences), sign_flip_p(differences))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Share of the choices of signs whose sum is at least as far from 0: exact for few pairs, else of a fixed random sample.

    With n pairs it is never below 2 / 2**n, so five seeds can't be below 0.06 (Fisher, The Design of Experiments, 1935).
    """
    sizes = [abs(value) for value in differences]
    observed = abs(math.fsum(differences)) * (1 - 1e-9)
    if len(sizes) <= MOST_EXACT:
        return _share(itertools.product((1, -1), repeat=len(sizes)), sizes, observed)
    drawn = random.Random(0)
    signs = (drawn.choices((1, -1), k=len(sizes)) for _ in range(DRAWS))
    return (_share(signs, sizes, observed) * DRAWS + 1) / (DRAWS + 1)


def _share(choices: Iterable[Sequence[int]], sizes: Sequence[float], observed: float) -> float:
    sums = [math.fsum(sign * size for sign, size in zip(signs, sizes, strict=True)) for signs in choices]
    return sum(abs(total) >= observed for total in sums) / len(sums)
