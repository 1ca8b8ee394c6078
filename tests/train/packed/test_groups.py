"""Groups of examples that no layout cuts: epochs, shares of ranks, micro-batches, evaluation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from launcher.train.packed.batch_layout import Limits
from launcher.train.packed.groups import Groups

NUMBERS = np.random.default_rng(0).permutation(np.concatenate([np.arange(40), np.arange(160) ** 2 % 40]))
LENGTHS = np.random.default_rng(1).integers(5, 50, 200).astype(np.int32)
LIMITS = Limits(examples=12, tokens=400, overhead=48, padded=False)


def whole(examples: np.ndarray) -> None:
    """Each group is there as a whole or not at all, its examples one after another."""
    assert sorted(examples) == sorted(np.flatnonzero(np.isin(NUMBERS, NUMBERS[examples])))
    assert len(list(itertools.groupby(NUMBERS[examples]))) == len(set(NUMBERS[examples]))


def test_examples_with_the_same_number_are_a_group() -> None:
    groups = Groups.of(np.array([3.0, 1, 3, 2, 1]))
    assert groups.sizes.tolist() == [2, 1, 2]
    assert [groups.examples(np.array([group])).tolist() for group in range(3)] == [[1, 4], [3], [0, 2]]
    assert groups.examples(np.array([2, 1])).tolist() == [0, 2, 3]


@pytest.mark.parametrize("steps", [1, 7, 13, 25, 40])
def test_an_epoch_deals_every_group_once_to_steps_of_like_size(steps: int) -> None:
    groups = Groups.of(NUMBERS)
    dealt = groups.epoch(seed=1, epoch=3, steps=steps)
    assert len(dealt) == steps
    assert sorted(np.concatenate(dealt)) == list(range(len(groups)))
    sizes = [len(groups.examples(chosen)) for chosen in dealt]
    assert min(sizes) > 0
    assert max(sizes) < len(NUMBERS) / steps + 2 * groups.sizes.max()
    again = groups.epoch(seed=1, epoch=3, steps=steps)
    assert all((one == other).all() for one, other in zip(dealt, again, strict=True))
    if steps < 40:
        other = groups.epoch(seed=1, epoch=4, steps=steps)
        assert any(one.tolist() != two.tolist() for one, two in zip(dealt, other, strict=True))


def test_one_large_group_leaves_no_step_without_any() -> None:
    groups = Groups.of(np.array([0] * 90 + list(range(1, 11))))
    for epoch in range(20):
        dealt = groups.epoch(seed=0, epoch=epoch, steps=10)
        assert all(len(chosen) for chosen in dealt)
        assert sorted(np.concatenate(dealt)) == list(range(11))


@pytest.mark.parametrize("world_size", [1, 3])
def test_no_rank_and_no_micro_batch_cuts_a_group(world_size: int) -> None:
    groups = Groups.of(NUMBERS)
    chosen = np.arange(0, len(groups), 2)
    examples = groups.examples(chosen)
    deals = groups.lay_out(chosen, LENGTHS[examples], world_size, LIMITS)
    parts = [examples[positions] for deal in deals for positions in deal]
    assert sorted(np.concatenate(parts)) == sorted(examples)
    for part in parts:
        whole(part)
        alone = len(set(NUMBERS[part])) == 1
        assert alone or (len(part) <= LIMITS.examples and LENGTHS[part].sum() <= 400)


def test_evaluation_keeps_groups_whole_too() -> None:
    deals = Groups.of(NUMBERS).in_length_order(LENGTHS, 2, LIMITS)
    parts = [part for deal in deals for part in deal]
    assert sorted(np.concatenate(parts)) == list(range(200))
    for part in parts:
        whole(part)
