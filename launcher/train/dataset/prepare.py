"""Examples for training: splits, labels and tokens, made once and kept in a cache that ranks and later runs share.

The cache is named after a fingerprint of the data's content, the tokenizer and every option that matters, so it is
never stale; see `token_cache` for how it is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed, RunStopped
from launcher.figures import quantity
from launcher.paths import user_cache
from launcher.reading.cleaning import cleaner, text_key
from launcher.reading.data_section import cut_fractions
from launcher.recipe.fields import leaves
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.train.process.file_locks import nothing
from launcher.train.process.stop_requests import never
from launcher.train.reading.data_doctor import warnings
from launcher.train.reading.sources import Source, open_sources, place, text_of
from launcher.train.reading.splits import Indices, Part, choose
from launcher.train.reading.splits import Rows as SourceRows
from launcher.train.tasks import Task, get_task
from launcher.train.tasks.base import nothing_to_measure
from launcher.train.tokens.cache import (
    Built,
    Dataset,
    Records,
    SplitWriter,
    TokenSplit,
    load_or_build,
    offsets_of,
)
from launcher.train.tokens.encoder import Encoder, Tokens

if TYPE_CHECKING:
    from launcher.train.augment.copies import Augmenter

__all__ = ["Dataset", "TokenSplit", "default_cache_dir", "encode_texts", "prepare", "training_texts"]

FORMAT = 6
"""Version of everything below that decides what is in a cache; a change makes old caches unused."""
CONTENTS = {
    "sources": ("data.source", "data.train", "data.validation", "data.test"),
    "tokenizer": ("model.name", "model.revision", "init_from"),
    "augment_with": ("data.augment.synonym_file", "data.augment.alike_file", "data.augment.back_translation"),
}
"""Part of the fingerprint -> keys whose files or models it holds the contents of."""
if uncovered := {leaf.name for leaf in leaves(Recipe) if "contents" in leaf.subjects}.difference(
    *CONTENTS.values()
):
    raise TypeError(f"CONTENTS must say where in the fingerprint these count: {sorted(uncovered)}")
BATCH = 2048
BATCH_CHARACTERS = 1 << 22
"""Rows given to the tokenizer at once, and characters of them: what it makes takes 30 to 120 bytes for each."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """What tokenised data are made of."""

    recipe: Recipe
    encoder: Encoder
    task: Task
    sources: dict[str, Source]
    augmenter: Augmenter | None
    """What alters the copies of training examples, where there are any."""


def prepare(
    recipe: Recipe,
    tokenizer: Any,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = never,
    on_wait: Callable[[], None] = nothing,
    position_limit: int | None = None,
) -> Dataset:
    """The recipe's data, tokenised; every rank may call this at once, one of them does the work.

    `position_limit` is the longest sequence that the model takes; `progress(done, total)` counts examples, and `on_wait`
    hears that another rank does the work. Raises RunFailed of class `data` for what is wrong with the data, RunStopped once
    `stop()` is true.
    """
    work = Work(
        recipe,
        Encoder.of(recipe, tokenizer, position_limit),
        get_task(recipe, tokenizer),
        open_sources(recipe),
        _augmenter(recipe),
    )
    directory = (cache_dir or default_cache_dir(recipe)) / "tokens" / _fingerprint(work)

    def build(staging: Path) -> Built:
        return _build(staging, work, progress or _ignore, stop)

    return load_or_build(directory, build, stop, on_wait)


def _augmenter(recipe: Recipe) -> Augmenter | None:
    if not recipe.data.augment.any:
        return None
    from launcher.train.augment.copies import Augmenter

    return Augmenter(recipe)


def default_cache_dir(recipe: Recipe) -> Path:
    """data.cache_dir, or `launcher` in the user's cache directory."""
    if recipe.data.cache_dir is not None:
        return Path(recipe.data.cache_dir)
    return user_cache()


def training_texts(recipe: Recipe) -> Iterator[str]:
    """Every text of the training data, for training a tokenizer on them."""
    columns = tasks.of(recipe).text_columns
    for name, row in open_sources(recipe)["train"].rows():
        for column in columns:
            value = row.values.get(column)
            yield " ".join(map(str, value)) if isinstance(value, list) else text_of(value, name, row)


def rows_of(recipe: Recipe, task: Task, split: str) -> list[Row]:
    """The rows that a split of the recipe's data is made of, in its order."""
    sources = open_sources(recipe)
    part = read(recipe, task, sources).parts[split]
    return [row for _, row in _take(sources[part.source].rows(), part.rows.tolist())]


def encode_texts(
    tokenizer: Any,
    rows: Iterable[Row],
    recipe: Recipe,
    *,
    label_names: tuple[str, ...] | None = None,
    name: str = "input",
    position_limit: int | None = None,
    progress: Progress | None = None,
) -> TokenSplit:
    """Tokenise rows in memory, for predictions; with a model's `label_names` (empty for regression) labels as well.

    `name` is the file that messages speak of; `progress(done, total)` counts rows.
    """
    task = get_task(recipe, tokenizer)
    encoder = Encoder.of(recipe, tokenizer, position_limit)
    source = _Rows(name, tuple(map(cleaner(recipe), rows)))
    targets = None if label_names is None else task.targets(source)
    work = Work(recipe, encoder, task, {}, None)
    batches: list[Tokens] = []
    done = 0
    for batch in _encode(source, None, work, targets, label_names or ()):
        batches.append(batch)
        done += len(batch.lengths if batch.sequences is None else batch.sequences)
        (progress or _ignore)(done, len(source.held))

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

    def may_be_unlabelled(self) -> bool:
        return False

    def notes(self) -> list[str]:
        return []


def _fingerprint(work: Work) -> str:
    """Names all that decides the tokens: values by their keys, files and models by what they hold."""
    recipe = work.recipe
    values = recipe.deciding("tokens")
    if not _draws(recipe):
        del values["seed"]
    parts = {
        "format": FORMAT,
        "sources": {split: source.identity() for split, source in work.sources.items()},
        "tokenizer": [work.encoder.backend.to_str(), work.encoder.token_types],
        "augment_with": None if work.augmenter is None else work.augmenter.identity(),
        "cut": cut_fractions(recipe.data),
        "values": values,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _draws(recipe: Recipe) -> bool:
    """Whether rows are drawn by the seed, or altered by it."""
    data = recipe.data
    return bool(cut_fractions(data) or data.limit or data.shots or data.augment.any)


@dataclass(frozen=True)
class Reading:
    """What is to be predicted of every row, and which rows are used."""

    targets: dict[str, list[Any]]
    """What the task makes of the rows of each source."""
    names: tuple[str, ...]
    """Name of each class."""
    labels: dict[str, NDArray[Any] | None]
    """Labels by row of each source."""
    parts: dict[str, Part]
    """The rows of each split."""


def read(recipe: Recipe, task: Task, sources: dict[str, Source]) -> Reading:
    """Labels of all rows, and the splits they are dealt to; RunFailed of class `data` where they don't fit the task."""
    targets = {split: task.targets(source) for split, source in sources.items()}
    names = task.label_names(sources["train"], targets["train"])
    labels = {split: task.labels(source, targets[split], names) for split, source in sources.items()}
    facts = {split: _facts(recipe, split, source, len(targets[split])) for split, source in sources.items()}
    facts["train"] = replace(facts["train"], classes=task.strata(labels["train"]))
    return Reading(targets, names, labels, choose(recipe, facts))


def _build(staging: Path, work: Work, progress: Progress, stop: Callable[[], bool]) -> Built:
    recipe, sources = work.recipe, work.sources
    reading = read(recipe, work.task, sources)
    chosen, targets, labels, names = reading.parts, reading.targets, reading.labels, reading.names
    copies = 0 if work.augmenter is None else recipe.data.augment.copies
    notes = [note for source in sources.values() for note in source.notes()]
    built = Built(label_names=names, notes=[*notes, *warnings(recipe, sources, chosen, names)])
    total, done = sum(len(part.rows) for part in chosen.values()) + copies * len(chosen["train"].rows), 0
    for split, part in chosen.items():
        built.truncated[split] = empty = 0
        measurable = False
        versions = [None, *range(1, copies + 1)] if split == "train" else [None]
        with SplitWriter(staging, split) as writer:
            for tokens in chain.from_iterable(
                _encode(sources[part.source], part.rows, work, targets[part.source], names, version)
                for version in versions
            ):
                if stop():
                    raise RunStopped("stopped while the data were being tokenised")
                writer.add(tokens)
                built.truncated[split] += tokens.truncated
                empty += tokens.empty
                measurable = measurable or work.task.has_terms(tokens)
                done += len(tokens.lengths if tokens.sequences is None else tokens.sequences)
                progress(done, total)
            known = labels[part.source]
            writer.finish(None if known is None else np.concatenate([known[part.rows]] * len(versions)))
        if split != "test" and not measurable:
            raise nothing_to_measure("training" if split == "train" else split)
        if empty:
            built.notes.append(f"{split}: {empty} of {len(part.rows) * len(versions)} examples have no text")
        if cut := built.truncated[split]:
            built.notes.append(f"{split}: {_told_cut(cut, work.encoder.max_length)}")
    return built


def _told_cut(count: int, longest: int) -> str:
    is_cut = f"{quantity(count, 'text')} {'is' if count == 1 else 'are'} cut"
    return f"{is_cut}, since a sequence holds {longest} tokens (data.max_length)"


def _ignore(done: int, total: int) -> None:
    del done, total


def _encode(
    source: Source,
    chosen: Indices | None,
    work: Work,
    targets: Sequence[Any] | None,
    names: tuple[str, ...],
    copy: int | None = None,
) -> Iterator[Tokens]:
    """Batches of the chosen rows (all if None) in their order, altered where they are to be a copy of that number."""
    wanted = None if chosen is None else chosen.tolist()
    known = None if targets is None else targets if wanted is None else [targets[row] for row in wanted]
    start = 0
    for rows in _batches(_take(source.rows(), wanted), work.task.spec.text_columns):
        end = start + len(rows)
        altered = rows if copy is None else _altered(work, rows, wanted, start, copy)
        yield work.task.encode(work.encoder, altered, None if known is None else known[start:end], names)
        start = end


def _altered(
    work: Work, rows: list[tuple[str, Row]], wanted: list[int] | None, start: int, copy: int
) -> list[tuple[str, Row]]:
    assert work.augmenter is not None
    assert wanted is not None
    return work.augmenter(rows, wanted[start : start + len(rows)], copy)


def _facts(recipe: Recipe, split: str, source: Source, count: int) -> SourceRows:
    """What deciding on rows needs to know of them beside their classes."""
    group, leaks = recipe.data.group if split == "train" else None, recipe.data.clean.drop_leaked
    if not leaks and group is None:
        return SourceRows(count)
    groups, texts, spec = [], [], tasks.of(recipe)
    for name, row in source.rows():
        for wrong in spec.group_mistakes(row) if group is not None else ():
            text = f"{place(name, row)}: {wrong.column}: {wrong.message}"
            raise RunFailed("data", text, "name a column of texts or numbers in data.group")
        groups.append(None if group is None else row.values.get(group))
        texts.append(hash(text_key(spec, row)))
    return SourceRows(count, None, groups, texts)


def _batches(rows: Iterator[tuple[str, Row]], columns: Sequence[str]) -> Iterator[list[tuple[str, Row]]]:
    """Rows for the tokenizer, of which `columns` hold the texts."""
    batch, characters = list[tuple[str, Row]](), 0
    for name, row in rows:
        batch.append((name, row))
        texts = (row.values.get(column) for column in columns)
        characters += sum(len(text if isinstance(text, str) else str(text)) for text in texts)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _take(rows: Iterator[tuple[str, Row]], wanted: list[int] | None) -> Iterator[tuple[str, Row]]:
    """The rows of these ascending numbers, all if None."""
    if wanted is None:
        return rows
    chosen = np.zeros(wanted[-1] + 1 if wanted else 0, bool)
    chosen[wanted] = True
    return compress(rows, chosen.tolist())
