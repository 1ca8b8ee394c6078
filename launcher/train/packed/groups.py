"""Examples that a loss compares with each other, such as the documents of a query: they go through the model together.

A group is never cut, neither by a global batch nor by a micro-batch, so that the loss is the same on any layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from launcher.train.packed.batch_layout import (
    Indices,
    Limits,
    epoch_order,
    global_batch,
    in_length_order,
    lay_out,
)


@dataclass(frozen=True)
class Groups:
    """Group g is the examples members[bounds[g]:bounds[g + 1]]."""

    members: Indices
    """(n,) every example, one group after another."""
    bounds: Indices
    """(groups + 1,)"""

    @classmethod
    def of(cls, numbers: NDArray[np.generic]) -> Groups:
        """Examples with the same number (n,) are a group."""
        _, group, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return cls(np.argsort(group, kind="stable"), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def sizes(self) -> Indices:
        """(groups,) examples of each."""
        return np.diff(self.bounds)

    def examples(self, chosen: Indices) -> Indices:
        """The examples of these groups, one group after another."""
        parts = (self.members[self.bounds[group] : self.bounds[group + 1]] for group in chosen)
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def epoch(self, seed: int, epoch: int, steps: int) -> list[Indices]:
        """The groups of each step of an epoch: all in an order of their own, as many examples in a step as whole groups allow.

        Depends on nothing but its arguments. There have to be as many groups as steps, or more.
        """
        assert len(self) >= steps
        order = epoch_order(len(self), seed, epoch)
        sizes = self.sizes[order]
        begins = np.cumsum(sizes) - sizes
        cuts = np.searchsorted(begins, np.arange(steps) * len(self.members) / steps)
        # A step that a large group would leave without any takes the next one.
        cuts = np.maximum.accumulate(cuts - np.arange(steps)) + np.arange(steps)
        cuts = np.minimum(cuts, len(self) - steps + np.arange(steps))
        return np.split(order, cuts[1:])

    def lay_out(
        self, chosen: Indices, lengths: NDArray[np.int32], world_size: int, limits: Limits
    ) -> list[list[Indices]]:
        """`batch_layout.lay_out` of these groups: the result holds positions in `lengths`.

        Those are the tokens of the groups' examples, one group after another, as `examples` gives them.
        """
        return self._whole(lay_out, chosen, lengths, world_size, limits)

    def in_length_order(
        self, lengths: NDArray[np.int32], world_size: int, limits: Limits
    ) -> list[list[Indices]]:
        """`batch_layout.in_length_order` of all groups: the result holds examples, which have these `lengths`."""
        deals = self._whole(in_length_order, np.arange(len(self)), lengths[self.members], world_size, limits)
        return [[self.members[positions] for positions in deal] for deal in deals]

    def _whole(
        self,
        deal_out: Callable[[NDArray[np.int32], int, Limits], list[list[Indices]]],
        chosen: Indices,
        lengths: NDArray[np.int32],
        world_size: int,
        limits: Limits,
    ) -> list[list[Indices]]:
        """What `deal_out` makes of the groups, as positions of their examples in `lengths`."""
        sizes = self.sizes[chosen]
        ends = np.cumsum(sizes)
        places = np.split(np.arange(len(lengths)), ends[:-1])
        tokens = np.add.reduceat(lengths, ends - sizes)
        # A limit that holds for the largest group holds for all; a single group may be above it.
        fitting = replace(limits, examples=max(1, limits.examples // int(sizes.max())))
        deals = deal_out(tokens, world_size, fitting)
        return [[np.concatenate([places[group] for group in part]) for part in deal] for deal in deals]


def examples_of_step(
    step: int, examples: int, seed: int, size: int, numbers: NDArray[np.generic] | None = None
) -> Indices:
    """Ids of the examples that optimizer step `step`, from 1, is made of, whatever the number of ranks.

    `numbers` are those of `Groups.of`, where the loss compares examples with each other.
    """
    steps = -(-examples // size)
    epoch, index = divmod(step - 1, steps)
    if numbers is None:
        return global_batch(epoch_order(examples, seed, epoch), index, size)
    groups = Groups.of(numbers)
    return groups.examples(groups.epoch(seed, epoch, steps)[index])
