"""Tokenised data on disk: written once by one process, mapped into memory by every other.

    CACHE_DIR/tokens/FINGERPRINT/
      train.ids.npy train.offsets.npy train.type_ids.npy train.sequences.npy
      train.marks.npy train.labels.npy train.records.jsonl                   the same for validation, test
      meta.json                                                              sizes of these files, label names, ...
    CACHE_DIR/tokens/FINGERPRINT.lock

A directory appears by renaming a finished one, so that a crash leaves nothing that could be taken for a cache.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from launcher.errors import RunFailed, RunStopped
from launcher.runs.records import read_record, tree_of
from launcher.runs.synced_files import sync
from launcher.train.process.file_locks import lock
from launcher.train.tokens.encoder import Tokens

SPLITS = ("train", "validation", "test")
PARTS = ("ids", "offsets", "type_ids", "sequences", "marks", "labels")


@dataclass(frozen=True)
class TokenSplit:
    """The examples of one split; the arrays are read-only maps of files, or in memory.

    n examples are s sequences of t tokens together: an example is one sequence, but for tasks that cut a long text into
    windows or weigh several choices.
    """

    ids: NDArray[np.int32]
    """Token ids of all sequences one after another, special tokens included: (t,)."""
    offsets: NDArray[np.int64]
    """Sequence i is ids[offsets[i]:offsets[i + 1]]: (s + 1,)."""
    type_ids: NDArray[np.uint8] | None = None
    """0 in the first text of a pair, 1 in the second: (t,); None where the model or the data have no such thing."""
    labels: NDArray[Any] | None = None
    """int64 (n,) for classes, float32 (n,) for scores, float32 (n, L) for several labels; None if there are none."""
    sequences: NDArray[np.int64] | None = None
    """Example i is sequences[i] to sequences[i + 1]: (n + 1,); None where each example is one sequence."""
    marks: NDArray[np.int32] | None = None
    """What the task notes for each token, such as its tag: (t,) or (t, k)."""
    records: Records | None = None
    """What the task keeps of each example besides tokens: n objects."""
    labelled: bool = True
    """Whether there is something to compare predictions with."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @functools.cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Tokens bounds[i] to bounds[i + 1] are those of example i: (n + 1,)."""
        return self.offsets if self.sequences is None else self.offsets[self.sequences]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each example: (n,)."""
        return np.diff(self.bounds).astype(np.int32)


class Records:
    """Objects in a jsonl file, or in memory, read when they are first asked for."""

    def __init__(self, source: Path | Sequence[dict[str, Any]]) -> None:
        self._source = source

    @functools.cached_property
    def all(self) -> Sequence[dict[str, Any]]:
        """Every record, in the order of the examples."""
        if not isinstance(self._source, Path):
            return self._source
        with self._source.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]


@dataclass(frozen=True)
class Dataset:
    """Everything that training reads."""

    train: TokenSplit
    validation: TokenSplit | None
    test: TokenSplit | None
    label_names: tuple[str, ...]
    """Name of each class; empty for regression."""
    truncated: Mapping[str, int]
    """Split -> examples that were cut to the longest length."""
    fingerprint: str
    """Names the data, the tokenizer and the options together."""
    notes: tuple[str, ...] = ()
    """Sentences worth showing once."""


@dataclass
class Built:
    """What a build leaves beside the arrays."""

    label_names: tuple[str, ...] = ()
    truncated: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Meta:
    """What `meta.json` holds."""

    files: Mapping[str, int]
    """Size of each, in bytes."""
    label_names: tuple[str, ...]
    truncated: Mapping[str, int]
    notes: tuple[str, ...]


Build = Callable[[Path], Built]


def load_or_build(
    directory: Path, build: Build, stop: Callable[[], bool], on_wait: Callable[[], None]
) -> Dataset:
    """The data cached in `directory`, built first where they aren't there or are damaged.

    One process builds while the others wait, each of which calls `on_wait` once. Raises RunStopped when `stop()` turns true
    meanwhile, and RunFailed of class `data` where the cache can't be written.
    """
    ready = load(directory)
    if ready is not None:
        return ready
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _lock(directory.with_name(f"{directory.name}.lock"), stop, on_wait) as alone:
            if alone:
                _sweep(directory)
            return load(directory) or _build(directory, build)
    except OSError as error:
        text = f"tokenised data can't be kept in {directory.parent}: {error.strerror or error}"
        raise RunFailed(
            "data", text, "set data.cache_dir to a directory with room that can be written"
        ) from error


def load(directory: Path) -> Dataset | None:
    """The data in `directory`, or None where they are missing or any file hasn't the size it was written with."""
    try:
        meta = read_record(Meta, directory / "meta.json")
        if meta is None or any((directory / name).stat().st_size != n for name, n in meta.files.items()):
            return None
        splits = {split: _load_split(directory, split, meta.files) for split in SPLITS}
        train = splits["train"]
        if train is None:
            return None
        return Dataset(
            train,
            splits["validation"],
            splits["test"],
            label_names=meta.label_names,
            truncated=meta.truncated,
            fingerprint=directory.name,
            notes=meta.notes,
        )
    except (OSError, ValueError, TypeError):
        return None


def _load_split(directory: Path, split: str, files: Mapping[str, int]) -> TokenSplit | None:
    names = {part: f"{split}.{part}.npy" for part in PARTS}
    if names["ids"] not in files:
        return None
    # asarray: a plain array over the same map, since slicing np.memmap is several times slower.
    found: dict[str, Any] = {
        part: np.asarray(np.load(directory / name, mmap_mode="r", allow_pickle=False))
        for part, name in names.items()
        if name in files
    }
    records = directory / f"{split}.records.jsonl"
    return TokenSplit(**found, records=Records(records) if records.name in files else None)


def _build(directory: Path, build: Build) -> Dataset:
    staging = directory.with_name(f"{_staging(directory)}{secrets.token_hex(4)}")
    staging.mkdir(mode=0o755)
    try:
        built = build(staging)
        _write_meta(staging, built)
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    ready = load(directory)
    assert ready is not None, directory
    return ready


def _staging(directory: Path) -> str:
    """How names of what this machine builds for a directory begin."""
    return f".{directory.name}.{socket.gethostname()}."


def _write_meta(staging: Path, built: Built) -> None:
    files = {}
    for path in sorted(staging.iterdir()):
        sync(path)
        files[path.name] = path.stat().st_size
    meta = Meta(files, built.label_names, built.truncated, tuple(built.notes))
    path = staging / "meta.json"
    path.write_text(json.dumps(tree_of(meta), ensure_ascii=False, indent=2), encoding="utf-8")
    sync(path)
    sync(staging)


def _publish(staging: Path, directory: Path) -> None:
    try:
        staging.rename(directory)
    except OSError:
        if load(directory) is not None:  # somebody without the lock was faster
            return
        damaged = Path(tempfile.mkdtemp(prefix=_staging(directory), dir=directory.parent))
        with contextlib.suppress(FileNotFoundError):
            directory.rename(damaged / "damaged")
        staging.rename(directory)
        shutil.rmtree(damaged, ignore_errors=True)
    sync(directory.parent)


def _sweep(directory: Path) -> None:
    """Remove what builders of this machine that were killed left behind; only with the lock.

    Not those of other machines: on some shared file systems each of them has locks of its own.
    """
    for left in directory.parent.glob(f"{_staging(directory)}*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path, stop: Callable[[], bool], on_wait: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock; yields False where the file system has none: several may build then, and the first to finish wins."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _acquire(descriptor, stop, on_wait)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, stop: Callable[[], bool], on_wait: Callable[[], None]) -> bool:
    held = lock(descriptor, stop, on_wait)
    if held is False:
        raise RunStopped("stopped while the data were being tokenised")
    return held is not None


class SplitWriter:
    """Appends the tokens of one split to .npy files, so that they never stand in memory as a whole."""

    def __init__(self, directory: Path, split: str) -> None:
        self._prefix = directory / split
        self._appenders = {"ids": _Appender(self._path("ids"), np.dtype(np.int32), ())}
        self._lengths: list[NDArray[np.int64]] = []
        self._sequences: list[NDArray[np.int64]] = []
        self._records: TextIO | None = None

    def add(self, tokens: Tokens) -> None:
        """Append a batch; either all batches have type_ids, marks, sequences and records or none."""
        for part, values in (("ids", tokens.ids), ("type_ids", tokens.type_ids), ("marks", tokens.marks)):
            if values is not None:
                if part not in self._appenders:
                    self._appenders[part] = _Appender(self._path(part), values.dtype, values.shape[1:])
                self._appenders[part].append(values)
        self._lengths.append(tokens.lengths)
        if tokens.sequences is not None:
            self._sequences.append(tokens.sequences)
        if tokens.records is not None:
            if self._records is None:
                self._records = self._prefix.with_name(f"{self._prefix.name}.records.jsonl").open(
                    "w", encoding="utf-8"
                )
            self._records.writelines(
                json.dumps(record, ensure_ascii=False) + "\n" for record in tokens.records
            )

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for appender in self._appenders.values():
            appender.close()
        if self._records is not None:
            self._records.close()

    def finish(self, labels: NDArray[Any] | None) -> None:
        """Write what isn't appended to: where examples begin, and their labels."""
        np.save(self._path("offsets"), offsets_of(self._lengths))
        if self._sequences:
            np.save(self._path("sequences"), offsets_of(self._sequences))
        if labels is not None:
            np.save(self._path("labels"), labels)

    def _path(self, part: str) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.{part}.npy")


def offsets_of(lengths: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Where each example begins, and where the last one ends: (n + 1,)."""
    return np.concatenate(
        [np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))]
    )


class _Appender:
    """One .npy file growing along its first axis; numpy's header leaves room to write the length again."""

    def __init__(self, path: Path, dtype: np.dtype[Any], rest: tuple[int, ...]) -> None:
        self._file: BinaryIO = path.open("w+b")
        self._dtype = dtype
        self._rest = rest
        self._count = 0
        self._header()

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._count += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        described = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._count, *self._rest),
        }
        np.lib.format.write_array_header_1_0(self._file, described)
