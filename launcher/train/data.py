"""Examples for training: splits, labels and tokens, made once and kept in a cache that ranks and later runs share.

The cache is named after a fingerprint of the data's content, the tokenizer and every option that matters, so it is
never stale; see `token_cache` for how it is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from launcher.datacheck import cut_fractions, text_columns
from launcher.datafiles import Row, Value, split_sizes
from launcher.errors import RunFailed, RunStopped
from launcher.recipe import Recipe
from launcher.train.sources import Source, open_sources, place
from launcher.train.targets import label_array, label_names_of, read_labels
from launcher.train.token_cache import (
    SPLITS,
    Built,
    Dataset,
    SplitWriter,
    TokenSplit,
    load_or_build,
    offsets_of,
)
from launcher.train.tokenizer import LONGEST

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Dataset", "TokenSplit", "default_cache_dir", "encode_texts", "prepare", "training_texts"]

FORMAT = 1
"""Version of everything below that decides what is in a cache; a change makes old caches unused."""
BATCH = 2048
"""Rows given to the tokenizer at once."""
Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]


def never() -> bool:
    """The `stop` of a caller that doesn't stop."""
    return False


def prepare(
    recipe: Recipe,
    tokenizer: Any,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = never,
    position_limit: int | None = None,
) -> Dataset:
    """The recipe's data, tokenised; every rank may call this at once, one of them does the work.

    `position_limit` is the longest sequence that the model takes; `progress(done, total)` counts examples. Raises
    RunFailed of class `data` for what is wrong with the data, RunStopped once `stop()` is true.
    """
    encoder = Encoder.of(recipe, tokenizer, position_limit)
    sources = open_sources(recipe.data)
    fingerprint = _fingerprint(recipe, encoder, sources)
    directory = (cache_dir or default_cache_dir(recipe)) / "tokens" / fingerprint

    def build(staging: Path) -> Built:
        return _build(staging, recipe, encoder, sources, progress or _ignore, stop)

    return load_or_build(directory, build, stop)


def default_cache_dir(recipe: Recipe) -> Path:
    """data.cache_dir, or `launcher` in the user's cache directory."""
    if recipe.data.cache_dir is not None:
        return Path(recipe.data.cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launcher"


def training_texts(recipe: Recipe) -> Iterator[str]:
    """Every text of the training data, for training a tokenizer on them."""
    columns = text_columns(recipe.data)
    for name, row in open_sources(recipe.data)["train"].rows():
        for column in columns:
            yield _text(row.values.get(column), name, row)


def encode_texts(
    tokenizer: Any,
    rows: Iterable[Row],
    recipe: Recipe,
    *,
    label_names: tuple[str, ...] | None = None,
    name: str = "input",
    position_limit: int | None = None,
) -> TokenSplit:
    """Tokenise rows in memory, for predictions; with a model's `label_names` (empty for regression) labels as well.

    `name` is the file that messages speak of.
    """
    encoder = Encoder.of(recipe, tokenizer, position_limit)
    source = _Rows(name, tuple(rows))
    batches = [batch for batch, _ in _encode(source, None, encoder, text_columns(recipe.data))]
    types = [batch.type_ids for batch in batches if batch.type_ids is not None]
    array = None
    if label_names is not None:
        array = label_array(recipe, source, read_labels(recipe, source), label_names)
    return TokenSplit(
        ids=np.concatenate([np.zeros(0, np.int32), *(batch.ids for batch in batches)]),
        offsets=offsets_of([batch.lengths for batch in batches]),
        type_ids=np.concatenate(types) if types else None,
        labels=array,
    )


@dataclass(frozen=True)
class _Rows:
    """Rows in memory as a source."""

    name: str
    held: tuple[Row, ...]

    def rows(self) -> Iterator[tuple[str, Row]]:
        return ((self.name, row) for row in self.held)

    def identity(self) -> list[str]:
        raise AssertionError("rows in memory are not cached")

    def class_names(self) -> None:
        return None


@dataclass(frozen=True)
class Tokens:
    """A batch of tokenised examples."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    type_ids: NDArray[np.uint8] | None
    truncated: int


@dataclass(frozen=True)
class Encoder:
    """The tokenizer's fast part, with our own truncation and no padding, whatever its files say."""

    backend: Tokenizer
    max_length: int
    token_types: bool
    """Whether token types are kept: the model has them, and there are pairs."""

    @classmethod
    def of(cls, recipe: Recipe, tokenizer: Any, position_limit: int | None) -> Encoder:
        """Raises RunFailed of class `data` where data.max_length doesn't fit the model."""
        from tokenizers import Tokenizer

        pair = len(text_columns(recipe.data)) == 2
        limit = min(tokenizer.model_max_length, position_limit or tokenizer.model_max_length)
        length = recipe.data.max_length or min(limit, LONGEST)
        if position_limit is not None and length > position_limit:
            text = f"data.max_length={length} is longer than the model allows"
            raise RunFailed("data", text, f"data.max_length={position_limit} or less")
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        least = backend.num_special_tokens_to_add(pair) + 1
        if length < least:
            text = f"data.max_length={length} leaves no room beside the special tokens"
            raise RunFailed("data", text, f"data.max_length={least} or more")
        backend.no_padding()
        backend.enable_truncation(length)
        return cls(backend, length, pair and "token_type_ids" in tokenizer.model_input_names)

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> Tokens:
        encodings = self.backend.encode_batch_fast(texts)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        total = int(lengths.sum())
        types = None
        if self.token_types:
            types = np.fromiter(chain.from_iterable(item.type_ids for item in encodings), np.uint8, total)
        longest = compress(encodings, (lengths == self.max_length).tolist())
        return Tokens(
            ids=np.fromiter(chain.from_iterable(ids), np.int32, total),
            lengths=lengths,
            type_ids=types,
            truncated=sum(1 for encoding in longest if encoding.overflowing),
        )


def _fingerprint(recipe: Recipe, encoder: Encoder, sources: dict[str, Source]) -> str:
    data = recipe.data
    fractions = cut_fractions(data)
    parts = {
        "format": FORMAT,
        "sources": {split: source.identity() for split, source in sources.items()},
        "tokenizer": encoder.backend.to_str(),  # its truncation is data.max_length
        "token_types": encoder.token_types,
        "task": recipe.task,
        "text": data.text,
        "label": data.label,
        "label_delimiter": data.label_delimiter if recipe.task == "multilabel" else None,
        "fractions": fractions,
        "limit": data.limit,
        "seed": recipe.seed if fractions or data.limit else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _build(
    staging: Path,
    recipe: Recipe,
    encoder: Encoder,
    sources: dict[str, Source],
    progress: Progress,
    stop: Callable[[], bool],
) -> Built:
    raw = {split: read_labels(recipe, source) for split, source in sources.items()}
    names = label_names_of(recipe, sources["train"], raw["train"])
    arrays = {split: label_array(recipe, source, raw[split], names) for split, source in sources.items()}
    chosen = _choose(recipe, {split: len(array) for split, array in arrays.items()}, arrays["train"])
    built = Built(label_names=names)
    total, done = sum(len(indices) for _, indices in chosen.values()), 0
    for split, (origin, indices) in chosen.items():
        built.truncated[split] = empty = 0
        with SplitWriter(staging, split) as writer:
            for tokens, without_text in _encode(sources[origin], indices, encoder, text_columns(recipe.data)):
                if stop():
                    raise RunStopped("stopped while the data were being tokenised")
                writer.add(tokens.ids, tokens.lengths, tokens.type_ids)
                built.truncated[split] += tokens.truncated
                empty += without_text
                done += len(tokens.lengths)
                progress(done, total)
            writer.finish(arrays[origin][indices])
        if empty:
            built.notes.append(f"{split}: {empty} of {len(indices)} examples have no text")
    return built


def _ignore(done: int, total: int) -> None:
    del done, total


def _encode(
    source: Source, chosen: Indices | None, encoder: Encoder, columns: Sequence[str]
) -> Iterator[tuple[Tokens, int]]:
    """Batches of the chosen rows (all if None) in their order, each with the number of rows without any text."""
    batch: list[Any] = []
    empty = 0
    for name, row in _take(source.rows(), chosen):
        texts = tuple(_text(row.values.get(column), name, row) for column in columns)
        empty += not any(texts)
        batch.append(texts if len(texts) == 2 else texts[0])
        if len(batch) == BATCH:
            yield encoder.encode(batch), empty
            batch, empty = [], 0
    if batch:
        yield encoder.encode(batch), empty


def _take(rows: Iterator[tuple[str, Row]], chosen: Indices | None) -> Iterator[tuple[str, Row]]:
    if chosen is None:
        return rows
    wanted = np.zeros(int(chosen.max()) + 1 if len(chosen) else 0, bool)
    wanted[chosen] = True
    return compress(rows, wanted.tolist())


def _text(value: Value, name: str, row: Row) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        text = f"{place(name, row)}: the text is a list or object"
        raise RunFailed("data", text, "name a column of texts in data.text")
    return "" if value is None else str(value)


def _choose(
    recipe: Recipe, counts: dict[str, int], train_labels: NDArray[Any]
) -> dict[str, tuple[str, Indices]]:
    """For each split the source it is taken from and the rows of it, in ascending order."""
    chosen = {split: (split, np.arange(count)) for split, count in counts.items()}
    fractions = cut_fractions(recipe.data)
    if fractions is not None:
        strata = train_labels if recipe.task == "classification" else None
        parts = cut(counts["train"], fractions, recipe.seed, strata)
        for split, fraction, part in zip(SPLITS, fractions, parts, strict=True):
            if fraction > 0 and not len(part):
                text = f"data.split leaves no example for {split}: there are {counts['train']} rows"
                raise RunFailed("data", text, "give more data, a validation file, or other fractions")
            if fraction > 0:
                chosen[split] = ("train", part)
    limit, (_, rows) = recipe.data.limit, chosen["train"]
    if limit is not None and limit < len(rows):
        kept = np.random.RandomState([recipe.seed, 1]).permutation(len(rows))[:limit]
        chosen["train"] = ("train", rows[np.sort(kept)])
    return {split: chosen[split] for split in SPLITS if split in chosen}


def cut(
    count: int, fractions: Sequence[float], seed: int, strata: NDArray[np.int64] | None = None
) -> tuple[Indices, Indices, Indices]:
    """Rows for train, validation and test: disjoint, ascending, as many as `split_sizes` says.

    A pure function of its arguments on every version of numpy (RandomState's stream is frozen). With `strata` (class
    of each row) every class is shared out in proportion, and one row of each stays in train where there is room.
    """
    sizes = split_sizes(count, fractions)
    pool = np.random.RandomState([seed, 0]).permutation(count)
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
