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
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher.columns import label_columns, text_columns
from launcher.datacheck import cut_fractions
from launcher.datafiles import Row, split_sizes
from launcher.errors import RunFailed, RunStopped
from launcher.recipe import Recipe
from launcher.train.encoder import Encoder, Tokens
from launcher.train.sources import Source, open_sources, text_of
from launcher.train.tasks import Task, get_task
from launcher.train.token_cache import (
    SPLITS,
    Built,
    Dataset,
    Records,
    SplitWriter,
    TokenSplit,
    load_or_build,
    offsets_of,
)

__all__ = ["Dataset", "TokenSplit", "default_cache_dir", "encode_texts", "prepare", "training_texts"]

FORMAT = 2
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
    task = get_task(recipe, tokenizer)
    sources = open_sources(recipe)
    fingerprint = _fingerprint(recipe, encoder, task, sources)
    directory = (cache_dir or default_cache_dir(recipe)) / "tokens" / fingerprint

    def build(staging: Path) -> Built:
        return _build(staging, recipe, encoder, task, sources, progress or _ignore, stop)

    return load_or_build(directory, build, stop)


def default_cache_dir(recipe: Recipe) -> Path:
    """data.cache_dir, or `launcher` in the user's cache directory."""
    if recipe.data.cache_dir is not None:
        return Path(recipe.data.cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launcher"


def training_texts(recipe: Recipe) -> Iterator[str]:
    """Every text of the training data, for training a tokenizer on them."""
    columns = text_columns(recipe)
    for name, row in open_sources(recipe)["train"].rows():
        for column in columns:
            yield text_of(row.values.get(column), name, row)


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
    task = get_task(recipe, tokenizer)
    encoder = Encoder.of(recipe, tokenizer, position_limit)
    source = _Rows(name, tuple(rows))
    targets = None if label_names is None else task.targets(source)
    batches = list(_encode(source, None, encoder, task, targets, label_names or ()))

    def joined(part: str) -> Any:
        found = [getattr(batch, part) for batch in batches if getattr(batch, part) is not None]
        return np.concatenate(found) if found else None

    sequences = [batch.sequences for batch in batches if batch.sequences is not None]
    records = [record for batch in batches for record in batch.records or ()]
    return TokenSplit(
        ids=np.concatenate([np.zeros(0, np.int32), *(batch.ids for batch in batches)]),
        offsets=offsets_of([batch.lengths for batch in batches]),
        type_ids=joined("type_ids"),
        labels=None if targets is None else task.labels(source, targets, label_names or ()),
        sequences=offsets_of(sequences) if sequences else None,
        marks=joined("marks"),
        records=Records(records) if records else None,
        labelled=targets is not None,
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


def _fingerprint(recipe: Recipe, encoder: Encoder, task: Task, sources: dict[str, Source]) -> str:
    data = recipe.data
    fractions = cut_fractions(data)
    parts = {
        "format": FORMAT,
        "sources": {split: source.identity() for split, source in sources.items()},
        "tokenizer": encoder.backend.to_str(),  # its truncation is data.max_length
        "token_types": encoder.token_types,
        "task": recipe.task,
        "text": text_columns(recipe),
        "label": label_columns(recipe),
        "labels": data.labels,
        "options": task.options(),
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
    task: Task,
    sources: dict[str, Source],
    progress: Progress,
    stop: Callable[[], bool],
) -> Built:
    targets = {split: task.targets(source) for split, source in sources.items()}
    names = task.label_names(sources["train"], targets["train"])
    labels = {split: task.labels(source, targets[split], names) for split, source in sources.items()}
    counts = {split: len(rows) for split, rows in targets.items()}
    chosen = _choose(recipe, counts, task.strata(labels["train"]))
    built = Built(label_names=names)
    total, done = sum(len(indices) for _, indices in chosen.values()), 0
    for split, (origin, indices) in chosen.items():
        built.truncated[split] = empty = 0
        with SplitWriter(staging, split) as writer:
            for tokens in _encode(sources[origin], indices, encoder, task, targets[origin], names):
                if stop():
                    raise RunStopped("stopped while the data were being tokenised")
                writer.add(tokens)
                built.truncated[split] += tokens.truncated
                empty += tokens.empty
                done += len(tokens.lengths if tokens.sequences is None else tokens.sequences)
                progress(done, total)
            known = labels[origin]
            writer.finish(None if known is None else known[indices])
        if empty:
            built.notes.append(f"{split}: {empty} of {len(indices)} examples have no text")
    return built


def _ignore(done: int, total: int) -> None:
    del done, total


def _encode(
    source: Source,
    chosen: Indices | None,
    encoder: Encoder,
    task: Task,
    targets: Sequence[Any] | None,
    names: tuple[str, ...],
) -> Iterator[Tokens]:
    """Batches of the chosen rows (all if None) in their order."""
    wanted = None if chosen is None else chosen.tolist()
    known = None if targets is None else targets if wanted is None else [targets[row] for row in wanted]
    start = 0
    for rows in _batches(_take(source.rows(), wanted)):
        end = start + len(rows)
        yield task.encode(encoder, rows, None if known is None else known[start:end], names)
        start = end


def _batches(rows: Iterator[tuple[str, Row]]) -> Iterator[list[tuple[str, Row]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _take(rows: Iterator[tuple[str, Row]], wanted: list[int] | None) -> Iterator[tuple[str, Row]]:
    """The rows of these ascending numbers, all if None."""
    if wanted is None:
        return rows
    chosen = np.zeros(wanted[-1] + 1 if wanted else 0, bool)
    chosen[wanted] = True
    return compress(rows, chosen.tolist())


def _choose(
    recipe: Recipe, counts: dict[str, int], strata: NDArray[np.int64] | None
) -> dict[str, tuple[str, Indices]]:
    """For each split the source it is taken from and the rows of it, in ascending order."""
    chosen = {split: (split, np.arange(count)) for split, count in counts.items()}
    fractions = cut_fractions(recipe.data)
    if fractions is not None:
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
