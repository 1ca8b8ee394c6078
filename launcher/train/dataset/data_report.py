"""Everything that `launch data` tells of a recipe's data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed
from launcher.recipe.recipe import LONGEST, Recipe
from launcher.runs.verb_results import DataFinding, DataReport, Lengths, Level, SplitReport
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.rows import Row
from launcher.train.reading.data_doctor import examine, share, worst_first
from launcher.train.reading.row_statistics import Limits, SplitStatistics
from launcher.train.reading.sources import Source, open_sources, text_of
from launcher.train.reading.splits import Part
from launcher.train.tasks import Task, get_task
from launcher.train.tokens.encoder import Encoder

BATCH = 2048
QUANTILES = (0.5, 0.9, 0.99, 1.0)
CUT_SHARE = 0.01
"""From this share of texts on, cutting them is worth a warning."""
LABELS_SHOWN = 50

Progress = Callable[[str, int | None, int | None], None]
"""Told what is done, of how many rows, and how many there are."""
NamedRow = tuple[str, Row]
"""The name of a row's file, and the row."""


def report(recipe: Recipe, tokenizer: Any, position_limit: int | None, progress: Progress) -> DataReport:
    """Splits with their labels and lengths, and findings; without a tokenizer lengths are left out."""
    from launcher.train.dataset.prepare import read

    sources = open_sources(recipe)
    progress("reading", None, None)
    findings: list[DataFinding] = []
    try:
        reading = read(recipe, get_task(recipe, tokenizer), sources)
        parts, names = reading.parts, reading.names
    except RunFailed as error:  # the rows at fault are told one by one below
        parts, names = _whole(sources), ()
        findings.append(
            DataFinding("unusable", "train", "error", error.message, 1, 1, (), error.remedy or "")
        )
    looked = partial(progress, "looking for what is doubtful")
    statistics, found = examine(recipe, sources, parts, names, Limits(), looked)
    lengths: dict[str, Lengths] = {}
    if tokenizer is not None:
        encoder = Encoder.of(recipe, tokenizer, position_limit)
        task = get_task(recipe, tokenizer)
        lengths = {
            split: _lengths(
                task, encoder, sources[part.source], part, partial(progress, f"counting tokens of {split}")
            )
            for split, part in parts.items()
        }
        findings += _cut(recipe, lengths, encoder.max_length, min(position_limit or LONGEST, LONGEST))
    return DataReport(
        splits={split: _split(seen, lengths.get(split)) for split, seen in statistics.items()},
        labels=tuple(names[:LABELS_SHOWN]),
        findings=tuple(worst_first([*found, *findings])),
    )


def _whole(sources: dict[str, Source]) -> dict[str, Part]:
    return {split: Part(split, np.arange(sum(1 for _ in source.rows()))) for split, source in sources.items()}


def _split(seen: SplitStatistics, lengths: Lengths | None) -> SplitReport:
    labels = dict(seen.labels.most_common(LABELS_SHOWN))
    return SplitReport(seen.rows, labels, len(seen.labels), lengths)


def _lengths(
    task: Task, encoder: Encoder, source: Source, part: Part, progress: Callable[[int, int], None]
) -> Lengths:
    """Quantiles of the tokens of a sequence before any is cut, how many are too long, and the windows that these make."""
    from tokenizers import Tokenizer

    uncut = Tokenizer.from_str(encoder.backend.to_str())
    uncut.no_truncation()
    counts, windows, done = [np.zeros(0, np.int64)], 0, 0
    for rows in _batches(source, part):
        found, longer = _token_counts(task.spec, uncut, encoder.max_length, rows)
        done += len(rows)
        progress(done, len(part.rows))
        counts.append(found)
        if task.spec.cuts_windows and longer:
            windows += len(task.encode(encoder, longer, None, ()).lengths)
    every = np.concatenate(counts)
    if not len(every):
        return Lengths()
    median, p90, p99, longest = np.quantile(every, QUANTILES, method="higher").tolist()
    return Lengths(
        median=median,
        p90=p90,
        p99=p99,
        longest=longest,
        longer=int((every > encoder.max_length).sum()),
        of=len(every),
        windows=windows if task.spec.cuts_windows else None,
    )


def _batches(source: Source, part: Part) -> Iterator[list[NamedRow]]:
    chosen = np.zeros(int(part.rows[-1]) + 1 if len(part.rows) else 0, bool)
    chosen[part.rows] = True
    rows = (named for named, taken in zip(source.rows(), chosen.tolist(), strict=False) if taken)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _token_counts(
    spec: TaskSpec, uncut: Any, max_length: int, rows: Sequence[NamedRow]
) -> tuple[NDArray[np.int64], list[NamedRow]]:
    """Tokens of each sequence of the rows, and the rows that have one that is too long."""
    texts = [list(spec.sequences(row, partial(_text_of, name, row))) for name, row in rows]
    encodings = uncut.encode_batch_fast(list(chain.from_iterable(texts)), is_pretokenized=spec.words)
    counts = np.fromiter(map(len, encodings), np.int64, len(encodings))
    owners = np.repeat(np.arange(len(rows)), list(map(len, texts)))
    return counts, [rows[index] for index in np.unique(owners[counts > max_length])]


def _text_of(name: str, row: Row, column: str) -> str:
    return text_of(row.values.get(column), name, row)


def _cut(recipe: Recipe, lengths: dict[str, Lengths], max_length: int, limit: int) -> Iterator[DataFinding]:
    spec = tasks.of(recipe)
    windows = spec.cuts_windows
    enough = min(limit, max((found.longest or 0 for found in lengths.values()), default=0))
    for split, found in lengths.items():
        count, of = found.longer, found.of
        if found.longest is None or not count:
            continue
        what = f"are cut into {found.windows or 0:,} windows" if windows else "are cut off"
        text = f"{split}: {share(count, of)} texts are longer than {max_length} tokens and {what}"
        level: Level = "note" if windows or count < CUT_SHARE * of else "warning"
        remedies = []
        if max_length < limit:
            remedies.append(f"data.max_length={enough} cuts less")
        if not windows and spec.windows:
            remedies.append("data.windows=mean reads all of a text")
        yield DataFinding("long", split, level, text, count, of, (), "; ".join(remedies))
