"""Micro-batches without padding: the examples one after another in a single row of tokens.

A packed micro-batch reaches the model as `input_ids`, `position_ids` and maybe `token_type_ids`, each (1, tokens), with
`lengths` (examples,) on the CPU and `cu_seqlens` (examples + 1,) on the model's device, where each example begins.
Only a model that `model.unpadded.enable_packing` has adapted understands them: any other would mix up the examples.

Where shapes must not change from step to step, further examples that nobody reads fill the row up to a bucket's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.packed.collate import micro_batch, selected
from launcher.train.tasks.base import MicroBatch, Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import EVALUATION, Indices
from launcher.train.tokens.mover import Mover

Array = NDArray[np.int64]

LENGTH_STEP = 16
"""Short rows of attention weights are rounded up to whole vectors: softmax over 13 numbers costs that over 130."""
ROUND_BELOW = 64
GROUP_OVERHEAD = 512
"""What one more group costs, in attention weights of one head."""
LARGEST_GROUP = 2**22
"""Most attention weights in a group, over all heads: 16 MiB."""
BUCKET_STEP = 64
"""Least difference between the sizes of two buckets, in tokens."""
BUCKETS_PER_OCTAVE = 32
"""Sizes of buckets between one power of two and the next: a thirty-second of a large row is filled up at most."""


@dataclass(frozen=True)
class Bucket:
    """A size that rows of tokens are filled up to, with examples that nobody reads behind the real ones."""

    tokens: int
    """Of the filled row."""
    fillers: int
    """Number of examples that fill it; each has a token at least, and no more than `longest`."""
    longest: int
    """What attention takes for the longest example."""

    @classmethod
    def of(cls, lengths: Array) -> Bucket:
        """The bucket of examples of these lengths: a function of their sum and their maximum."""
        tokens = int(lengths.sum())
        step = max(BUCKET_STEP, 2 ** (tokens.bit_length() - 1) // BUCKETS_PER_OCTAVE)
        fillers = -(-step // (BUCKET_STEP - 1))
        return cls(
            tokens=-(-(tokens + fillers) // step) * step,
            fillers=fillers,
            longest=-(-int(lengths.max()) // BUCKET_STEP) * BUCKET_STEP,
        )

    def filling(self, tokens: int) -> Array:
        """(fillers,) lengths of the examples that fill up a row of `tokens`, as even as can be."""
        missing, count = self.tokens - tokens, self.fillers
        return np.full(count, missing // count) + (np.arange(count) < missing % count)


@dataclass(frozen=True)
class PackedCollate:
    """Examples one after another, in the order they are given in."""

    pads: ClassVar[bool] = False
    task: Task
    first_position: int
    """Position id of a sequence's first token: RoBERTa counts from behind its padding id."""
    type_ids: bool
    """Whether the model tells first and second text apart by token types."""
    move: Mover
    fill: bool = False
    """Whether rows are filled up to the size of a bucket."""

    def __call__(self, split: TokenSplit, examples: Indices, epoch: int = EVALUATION) -> MicroBatch:
        gathered = self.task.gather(split, examples, epoch)
        lengths = gathered.lengths
        tokens = int(lengths.sum())
        bucket = Bucket.of(lengths) if self.fill else Bucket(tokens, 0, int(lengths.max()))
        if self.fill:
            lengths = np.concatenate([lengths, bucket.filling(tokens)])
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        positions = np.arange(tokens) - np.repeat(starts[:-1], lengths)[:tokens] + self.first_position
        rows = {
            "input_ids": _filled(gathered.ids, bucket, 0),
            "position_ids": _filled(positions, bucket, self.first_position),
        }
        if self.type_ids:
            types = np.zeros(tokens, np.int64) if gathered.type_ids is None else gathered.type_ids
            rows["token_type_ids"] = _filled(types, bucket, 0)
        inputs = {name: self.move(row[None]) for name, row in rows.items()}
        inputs["lengths"] = torch.from_numpy(lengths)
        inputs["cu_seqlens"] = self.move(starts.astype(np.int32))
        if self.fill:
            inputs["bucket"] = torch.tensor([bucket.fillers, bucket.longest])
        chosen = selected(self.task, gathered)
        if chosen is not None:
            inputs["selected"] = self.move(chosen)
        return micro_batch(inputs, split, examples, gathered, self.task, self.move, real=None)


def _filled(row: Array, bucket: Bucket, value: int) -> Array:
    """The row (tokens,) with `value` for the tokens that fill it up."""
    if len(row) == bucket.tokens:
        return row
    return np.concatenate([row, np.full(bucket.tokens - len(row), value, dtype=row.dtype)])


class Packing:
    """Where the examples of one packed micro-batch are; shared by all layers of a forward pass."""

    def __init__(
        self,
        lengths: torch.Tensor,
        cu_seqlens: torch.Tensor,
        selected: torch.Tensor | None = None,
        bucket: torch.Tensor | None = None,
    ) -> None:
        fillers, longest = (0, int(lengths.max())) if bucket is None else bucket.tolist()
        self.fillers: int = fillers
        """Examples that nobody reads."""
        self.lengths: Array = lengths.numpy()
        self.selected = selected
        """(k,) the tokens that the head reads, where it doesn't read them all."""
        self.cu_seqlens = cu_seqlens
        self.longest: int = longest
        self._examples = len(self.lengths) - self.fillers
        self.read = cu_seqlens[: self._examples + 1]
        """(examples + 1,) bounds of the examples that somebody reads."""
        self.first_rows = self.read[:-1].long()
        """(examples,) where the first token of each example is."""
        self.tokens = int(self.lengths[: self._examples].sum())
        """Tokens of those examples."""
        self._groups: dict[tuple[int, bool, int | None, bool], Groups] = {}
        self._alike: dict[tuple[int, int], list[Array]] = {}

    def __len__(self) -> int:
        """Examples that somebody reads."""
        return self._examples

    def first(self, hidden: torch.Tensor) -> torch.Tensor:
        """The rows of the first tokens: (1, tokens, width) -> (1, examples, width)."""
        return hidden.index_select(1, self.first_rows)

    def apart(self, hidden: torch.Tensor, distance: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, tokens, width) with `distance` rows of zeros between two examples, and the places of the tokens (tokens,)."""
        example = np.repeat(np.arange(len(self.lengths)), self.lengths)
        places = Mover(hidden.device)(np.arange(len(example)) + distance * example)
        rows = len(example) + distance * (len(self.lengths) - 1)
        return hidden.new_zeros(1, rows, hidden.shape[-1]).index_copy(1, places, hidden), places

    def mean(self, hidden: torch.Tensor) -> torch.Tensor:
        """The mean over each example's tokens: (1, tokens, width) -> (examples, 1, width)."""
        lengths = self.cu_seqlens.diff()
        example = torch.arange(len(lengths), device=hidden.device).repeat_interleave(
            lengths, output_size=hidden.shape[1]
        )
        sums = hidden.new_zeros(len(lengths), hidden.shape[-1]).index_add_(0, example, hidden[0])
        return (sums / lengths[:, None]).to(hidden.dtype)[: len(self), None]

    def one_query_each(self) -> torch.Tensor:
        """(all examples + 1,) bounds of the queries where each has a single one, also those that fill up the row."""
        return torch.arange(len(self.lengths) + 1, dtype=torch.int32, device=self.cu_seqlens.device)

    @property
    def widest(self) -> int:
        """Places that the longest example is padded to inside attention."""
        return _rounded(self.longest)

    def groups(
        self, heads: int, first_only: bool, window: int | None = None, by_head: bool = False
    ) -> Groups:
        """The examples in groups of like length, laid out for batched products; see `Groups.of`."""
        # A window wider than every example hides nothing.
        window = None if window is None or window >= self.longest - 1 else window
        key = (heads, first_only, window, by_head)
        if key not in self._groups:
            lengths = self.lengths[: len(self)] if first_only else self.lengths
            device, alike = self.cu_seqlens.device, self._alike_in_length(lengths, heads)
            self._groups[key] = Groups.of(lengths, alike, heads, first_only, window, device, by_head)
        return self._groups[key]

    def _alike_in_length(self, lengths: Array, heads: int) -> list[Array]:
        """`group_by_length`, which the last layer asks for once more where it has but the first tokens for queries."""
        key = (len(lengths), heads)
        if key not in self._alike:
            self._alike[key] = group_by_length(lengths, heads)
        return self._alike[key]


@dataclass(frozen=True)
class Group:
    """Examples that are padded to one length inside attention; all tensors head by head."""

    batch: int
    """Examples times heads."""
    queries: int
    keys: int
    bias: torch.Tensor | None
    """(examples, 1, 1 or queries, keys): 0, and -inf where a query must not look; None where all may."""


@dataclass(frozen=True)
class Groups:
    """How token rows (token * heads + head) are gathered into groups, and back."""

    groups: list[Group]
    heads: int
    query_rows: torch.Tensor
    """Source of each gathered query row; padding repeats the example's last."""
    key_rows: torch.Tensor
    query_padding: torch.Tensor
    """Gathered query rows that are padding."""
    query_places: torch.Tensor
    """Where each query row was gathered to."""
    key_places: torch.Tensor

    @classmethod
    def of(
        cls,
        lengths: Array,
        alike: list[Array],
        heads: int,
        first_only: bool,
        window: int | None,
        device: torch.device,
        by_head: bool = False,
    ) -> Groups:
        """Lay out examples of these lengths, each of the parts of `alike` as a group.

        With `first_only` each example has its first token as the only query.
        A group's rows go by example, head and place, or with `by_head` by head, example and place.
        """
        key_starts = np.cumsum(lengths) - lengths
        query_lengths = np.ones_like(lengths) if first_only else lengths
        query_starts = np.arange(len(lengths)) if first_only else key_starts
        groups: list[Group] = []
        move = Mover(device)
        queries = _Gather(heads, by_head)
        keys = _Gather(heads, by_head)
        for members in alike:
            longest = int(lengths[members].max())
            width = _rounded(longest)
            query_width = 1 if first_only else longest
            bias = _bias(lengths[members], query_width, width, window)
            queries.add(query_starts[members], query_lengths[members], query_width)
            keys.add(key_starts[members], lengths[members], width)
            groups.append(
                Group(
                    batch=len(members) * heads,
                    queries=query_width,
                    keys=width,
                    bias=None if bias is None else move(bias),
                )
            )
        query_rows, query_padding, query_places = queries.finish()
        key_rows, _, key_places = keys.finish()
        tensors = (query_rows, key_rows, query_padding, query_places, key_places)
        return cls(groups, heads, *map(move, tensors))

    def queries(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Gathered query rows as one (batch, queries, width) for each group."""
        parts = torch.split(rows, [group.batch * group.queries for group in self.groups])
        return [
            part.view(group.batch, group.queries, -1) for group, part in zip(self.groups, parts, strict=True)
        ]

    def keys(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Gathered key rows as one (batch, keys, width) for each group."""
        parts = torch.split(rows, [group.batch * group.keys for group in self.groups])
        return [
            part.view(group.batch, group.keys, -1) for group, part in zip(self.groups, parts, strict=True)
        ]


def group_by_length(lengths: Array, heads: int) -> list[Array]:
    """Partition examples where padding plus the cost of the groups is least; longest first."""
    order = np.argsort(-lengths, kind="stable")
    widths = np.array([_rounded(int(length)) for length in lengths[order]])
    costs = lengths[order] * widths
    count = len(order)
    most = np.maximum(1, LARGEST_GROUP // (costs * heads))
    best = np.full(count + 1, np.iinfo(np.int64).max // 2)
    best[0] = 0
    start_of = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        starts = np.arange(end)
        sizes = end - starts
        total = np.where(sizes <= most[:end], best[:end] + sizes * costs[:end] + GROUP_OVERHEAD, best[count])
        start_of[end] = int(np.argmin(total))
        best[end] = total[start_of[end]]
    groups: list[Array] = []
    end = count
    while end > 0:
        groups.append(order[start_of[end] : end])
        end = int(start_of[end])
    return groups[::-1]


def _rounded(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP if length < ROUND_BELOW else length


def _bias(lengths: Array, queries: int, keys: int, window: int | None) -> NDArray[np.float32] | None:
    hidden = (np.arange(keys)[None, :] >= lengths[:, None])[:, None, None, :]
    if window is not None:
        distance = np.abs(np.arange(queries)[:, None] - np.arange(keys)[None, :])
        # Padding looks at padding, since a row that sees nothing would be 0 / 0.
        too_far = (distance > window)[None, None]
        hidden = (hidden & (np.arange(queries)[:, None] < lengths[:, None, None])[:, None]) | too_far
    if not hidden.any():
        return None
    return np.where(hidden, np.float32(-np.inf), np.float32(0.0))


class _Gather:
    """Collects the index arrays of one kind of rows, group by group."""

    def __init__(self, heads: int, by_head: bool) -> None:
        self._heads = heads
        self._by_head = by_head
        self._rows: list[Array] = []
        self._padding: list[NDArray[np.bool_]] = []

    def add(self, starts: Array, lengths: Array, width: int) -> None:
        """Gather these examples' rows, padded to `width`."""
        position = np.arange(width)
        token = starts[:, None] + np.minimum(position, lengths[:, None] - 1)
        head = np.arange(self._heads)[None, :, None]
        rows = token[:, None, :] * self._heads + head
        padding = np.broadcast_to((position >= lengths[:, None])[:, None], rows.shape)
        if self._by_head:
            rows, padding = rows.swapaxes(0, 1), padding.swapaxes(0, 1)
        self._rows.append(rows.ravel())
        self._padding.append(padding.ravel())

    def finish(self) -> tuple[Array, Array, Array]:
        """(source rows, gathered rows that are padding, place of each source row)."""
        rows = np.concatenate(self._rows)
        padding = np.concatenate(self._padding)
        real = np.flatnonzero(~padding)
        places = np.empty(len(real), dtype=np.int64)
        places[rows[real]] = real
        return rows, np.flatnonzero(padding), places
