"""The batch layout as a function: properties that hold for any lengths, ranks and limits."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.train.packed.batch_layout import (
    Limits,
    epoch_order,
    global_batch,
    in_length_order,
    lay_out,
    split_ranks,
)

LENGTHS = st.lists(st.integers(1, 512), max_size=80).map(lambda found: np.array(found, dtype=np.int32))
FEW_LENGTHS = st.lists(st.integers(1, 512), max_size=9).map(lambda found: np.array(found, dtype=np.int32))
WORLDS = st.integers(1, 9)
LIMITS = st.builds(
    Limits, st.integers(1, 40), st.none() | st.integers(1, 4096), st.sampled_from([0, 48, 8192])
)


@given(LENGTHS, WORLDS, LIMITS)
@settings(max_examples=80)
def test_layout_is_a_partition_within_the_limits(lengths: np.ndarray, world: int, limits: Limits) -> None:
    layout = lay_out(lengths, world, limits)
    assert len(layout) == world
    flat = [int(position) for rank in layout for part in rank for position in part]
    assert sorted(flat) == list(range(len(lengths)))
    for part in (part for rank in layout for part in rank):
        assert 1 <= len(part) <= limits.examples
        if limits.tokens is not None and len(part) > 1:
            assert len(part) * lengths[part].max() <= limits.tokens


@given(LENGTHS, WORLDS, LIMITS)
def test_layout_depends_on_nothing_but_its_arguments(lengths: np.ndarray, world: int, limits: Limits) -> None:
    once, again = (lay_out(lengths.copy(), world, limits) for _ in range(2))
    assert [[part.tolist() for part in rank] for rank in once] == [
        [part.tolist() for part in rank] for rank in again
    ]


@given(FEW_LENGTHS, st.integers(1, 4))
@settings(max_examples=80)
def test_no_rank_has_more_than_four_thirds_of_the_best_share(lengths: np.ndarray, world: int) -> None:
    loads = [int(lengths[share].sum()) for share in split_ranks(lengths, world)]
    assert 3 * max(loads) <= 4 * _best_possible(sorted(map(int, lengths), reverse=True), world)


@given(LENGTHS, WORLDS)
def test_ranks_differ_by_one_example_at_most(lengths: np.ndarray, world: int) -> None:
    loads = [int(lengths[share].sum()) for share in split_ranks(lengths, world)]
    assert max(loads) - min(loads) <= max(lengths, default=0)


def _best_possible(descending: list[int], world: int) -> int:
    """The least possible load of the most loaded rank, by trying everything."""
    best = sum(descending)

    def place(index: int, loads: tuple[int, ...]) -> None:
        nonlocal best
        if max(loads) >= best:
            return
        if index == len(descending):
            best = max(loads)
            return
        for load in set(loads):
            rank = loads.index(load)
            place(index + 1, (*loads[:rank], load + descending[index], *loads[rank + 1 :]))

    place(0, (0,) * world)
    return best


def test_cutting_by_length_saves_padding_when_it_is_worth_a_micro_batch() -> None:
    lengths = np.array([100] * 4 + [10] * 12, dtype=np.int32)
    (cheap,), (dear,) = (lay_out(lengths, 1, Limits(16, None, overhead)) for overhead in (48, 8192))
    assert [len(part) for part in cheap] == [4, 12]
    assert [len(part) for part in dear] == [16]


def test_an_example_longer_than_the_token_limit_is_computed_alone() -> None:
    lengths = np.array([30, 500, 30], dtype=np.int32)
    (parts,) = lay_out(lengths, 1, Limits(16, 64, 0))
    assert sorted(part.tolist() for part in parts) == [[0, 2], [1]]


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(1, 40))
def test_an_epoch_holds_every_example_once(examples: int, seed: int, epoch: int, size: int) -> None:
    order = epoch_order(examples, seed, epoch)
    batches = [global_batch(order, index, size).tolist() for index in range(-(-examples // size))]
    assert sorted(chain.from_iterable(batches)) == list(range(examples))
    assert all(len(batch) == size for batch in batches[:-1])
    assert np.array_equal(order, epoch_order(examples, seed, epoch))


def test_order_changes_with_seed_and_epoch_alone() -> None:
    orders = {(seed, epoch): tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    # Recorded: another order would be another training, on every machine.
    assert epoch_order(10, 42, 0).tolist() == RECORDED


RECORDED = [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]


@pytest.mark.parametrize("world", [1, 2, 5])
@given(LENGTHS, LIMITS)
def test_evaluation_deals_every_example_once(world: int, lengths: np.ndarray, limits: Limits) -> None:
    deals = in_length_order(lengths, world, limits)
    flat = [int(position) for rank in deals for part in rank for position in part]
    assert len(deals) == world
    assert sorted(flat) == list(range(len(lengths)))
    assert max(map(len, deals)) - min(map(len, deals)) <= 1
    for part in (part for rank in deals for part in rank):
        assert len(part) <= limits.examples
        if limits.tokens is not None and len(part) > 1:
            assert len(part) * lengths[part].max() <= limits.tokens
