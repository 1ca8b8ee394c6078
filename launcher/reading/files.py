"""Data files to rows, whatever their format: the one place that knows which module reads which.

Used before a launch to check the data and on the nodes to read them, so both see the same rows. Every mistake
in a file is a `UserError` that names the file and, where the format has lines, the line.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from launcher.reading.binary_kinds import refuse_binary
from launcher.reading.messages import mistake
from launcher.reading.nested import add_reached
from launcher.reading.opening import inner_name, open_as_it_is, open_file, size_of
from launcher.reading.options import ReadOptions
from launcher.reading.packed import BLOCK
from launcher.reading.textfiles import FULL_READ_BYTES
from launcher.recipe.data_formats import COLUMNS_OF_WORDS, FORMATS, FormatName, extension, format_named
from launcher.tasks.shared.rows import Row

NAME_A_FORMAT = "give data.format, one of: " + ", ".join(FORMATS)
MODULES: Mapping[FormatName, str] = {"csv": "delimited", "tsv": "delimited", "json": "json_list"}
"""Modules of formats that aren't called as these are."""
DIALECTS: Mapping[FormatName, str] = {"csv": "CSV", "tsv": "TSV"}
EDITIONS: Mapping[FormatName, int] = {"json": 2, "jsonl": 2, "parquet": 3, "conll": 2}
"""Raised when the same file gives other rows than before: tokenised data of an earlier edition aren't used again."""
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True)
class Reader:
    """How files of one format are read."""

    rows: Callable[[Path, ReadOptions], Iterator[Row]]
    count: Callable[[Path, ReadOptions], int | None] | None = None
    """Rows in a file, None where that would take long; without this function small files are read to count them."""
    class_names: Callable[[Path, str], tuple[str, ...] | None] | None = None
    """The classes that a file declares for a column, where files of this format can."""
    edition: int = 1
    """See EDITIONS."""
    unlabelled: Callable[[Path, str], int] | None = None
    """Rows that have none of the classes that a file declares for a column."""


@cache
def reader_of(name: FormatName) -> Reader:
    """How files of this format are read; the modules of the other formats are not imported."""
    module: Any = importlib.import_module(f"launcher.reading.formats.{MODULES.get(name, name)}")
    if name in DIALECTS:
        dialect = getattr(module, DIALECTS[name])
        return Reader(partial(module.rows, dialect=dialect), partial(module.count, dialect=dialect))
    count, class_names = getattr(module, "count", None), getattr(module, "class_names", None)
    unlabelled = getattr(module, "unlabelled", None)
    return Reader(module.rows, count, class_names, EDITIONS.get(name, 1), unlabelled)


@dataclass(frozen=True)
class Peek:
    """The beginning of a file."""

    columns: tuple[str, ...]
    """Column names, in the file's order; of json and jsonl those of the rows read."""
    rows: tuple[Row, ...]
    """The first rows."""
    count: int | None
    """Rows in the whole file, or None where counting them would take long."""

    @property
    def complete(self) -> bool:
        """Whether `rows` are all there are."""
        return self.count == len(self.rows)


def resolve_format(path: Path, options: ReadOptions) -> FormatName:
    """The format of a file: `options.format`, or what its extension says, or that of the file within a zip file."""
    known = options.format or format_named(path)
    if known is None and extension(path) == "":
        known = format_named(inner_name(path) or "")
    if known is not None:
        return known
    with open_file(path) as file:  # that there is no such file, or what it is instead, is the better message
        refuse_binary(path, file.peek(BLOCK))
    if path.suffix.lower() in WORKBOOKS:
        remedy = 'save the sheet as "CSV UTF-8", and give that file'
        raise mistake(path, None, f"{path.suffix} files are workbooks, which aren't read", remedy)
    what = f"its extension {path.suffix!r} is not a known one" if path.suffix else "it has no extension"
    raise mistake(path, None, f"can't tell the format of this file: {what}", NAME_A_FORMAT)


def words_are_lines(path: Path, options: ReadOptions) -> bool:
    """Whether each word of a row stands on a line of its own."""
    return resolve_format(path, options) in COLUMNS_OF_WORDS


def read_rows(path: Path, options: ReadOptions) -> Iterator[Row]:
    """Every row of a file, in order; UserError at the first that can't be read."""
    rows = reader_of(resolve_format(path, options)).rows(path, options)
    if not options.nested:
        return rows
    return (Row(add_reached(row.values, options.nested), row.position) for row in rows)


def peek(path: Path, options: ReadOptions, rows: int = 1000) -> Peek:
    """Columns, the first `rows` rows, and the number of rows where it is cheap to know."""
    first = tuple(islice(read_rows(path, options), rows))
    if not first:
        is_table = resolve_format(path, options) in DIALECTS and options.header
        behind = " after the header line" if is_table else ""
        raise mistake(path, None, "holds no rows", f"give a file with at least one row{behind}")
    names = dict.fromkeys(name for row in first for name in row.values)
    count = len(first) if len(first) < rows else count_rows(path, options)
    return Peek(tuple(names), first, count)


def count_rows(path: Path, options: ReadOptions) -> int | None:
    """Rows in the file, or None where that would mean reading a large file through a parser."""
    reader = reader_of(resolve_format(path, options))
    if reader.count is not None:
        return reader.count(path, options)
    return sum(1 for _ in reader.rows(path, options)) if size_of(path) <= FULL_READ_BYTES else None


def declared_classes(files: Sequence[Path], options: ReadOptions, column: str) -> tuple[str, ...] | None:
    """The classes of a column in their order, where all of these files declare the same."""
    readers = [reader_of(resolve_format(path, options)).class_names for path in files]
    found = {read(path, column) if read else None for path, read in zip(files, readers, strict=True)}
    return found.pop() if len(found) == 1 else None


def left_out(path: Path, options: ReadOptions, column: object) -> int:
    """Rows of which a file that declares classes says that they have none, as some of SNLI's; 0 where it says so of all.

    They are left out of what is trained and measured on, from files and from the hub alike.
    """
    unlabelled = reader_of(resolve_format(path, options)).unlabelled
    if unlabelled is None or not isinstance(column, str):
        return 0
    found = unlabelled(path, column)
    return found if found != count_rows(path, options) else 0


def labelled_rows(path: Path, options: ReadOptions, column: str | None) -> Iterator[Row]:
    """The rows of a file without those that are `left_out`."""
    rows = read_rows(path, options)
    if column is None or not left_out(path, options, column):
        return rows
    return (row for row in rows if row.values.get(column) is not None)


def reading_of(path: Path, options: ReadOptions) -> str:
    """What makes rows of a file: its format, and the edition of the module that reads it."""
    name = resolve_format(path, options)
    edition = reader_of(name).edition
    return name if edition == 1 else f"{name} {edition}"


def content_hash(path: Path) -> str:
    """sha256 of the file's bytes as they lie on disk, in hexadecimal."""
    with open_as_it_is(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_sizes(count: int, fractions: Sequence[float]) -> tuple[int, ...]:
    """Examples in each part of `count` cut by `fractions`, which add up to at most 1.

    Every part but the first is rounded to the nearest whole number, as far as there are any; the first takes what
    they leave.
    """
    left = min(count, round(count * sum(fractions)))
    rest = []
    for fraction in fractions[1:]:
        rest.append(min(left, int(count * fraction + 0.5)))
        left -= rest[-1]
    return (left, *rest)
