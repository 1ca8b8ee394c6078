"""Readers of local data files: csv, tsv, json, jsonl, parquet, txt, CoNLL columns and SQuAD json, row by row.

Used before a launch to check the data and on the nodes to read them, so both see the same rows. Every mistake
in a file is a `UserError` that names the file and, where the format has lines, the line.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from launcher.errors import Problem, UserError
from launcher.reading import conll, squad
from launcher.reading.textfiles import lines, mistake, open_file, raw_lines, size_of

Format = Literal["csv", "tsv", "json", "jsonl", "parquet", "txt", "conll", "squad"]
FORMATS: tuple[Format, ...] = get_args(Format)
Value = str | int | float | list[Any] | None
"""What a cell may hold: text formats give strings, the others what was written."""

FULL_READ_BYTES = 50 << 20
"""Files up to this size are read whole where their rows can't be counted otherwise."""
COUNT_BYTES = 512 << 20
"""Files up to this size have their lines counted."""
FIELD_CHARACTERS = 1 << 27
"""Longest csv field; Python's own limit of 128 KiB is shorter than some documents."""
NAME_A_FORMAT = "give data.format, one of: " + ", ".join(FORMATS)
EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
    ".conll": "conll",
    ".bio": "conll",
    ".iob2": "conll",
}


@dataclass(frozen=True)
class ReadOptions:
    """How files are to be read; None leaves it to the format."""

    header: bool = True
    """Whether csv and tsv files start with a line of column names."""
    columns: tuple[str, ...] | None = None
    """Names for the columns of headerless csv, tsv and CoNLL files; further columns in the file are ignored."""
    delimiter: str | None = None
    """One character; by default a comma in csv, a tab in tsv, and any run of blanks and tabs in CoNLL files."""
    quoting: bool | None = None
    """Whether double quotes enclose fields (RFC 4180); by default yes in csv and no in tsv."""
    format: Format | None = None
    """The format, whatever the extension says."""


class Row(NamedTuple):
    """One record: its cells by column, and where it stands."""

    values: dict[str, Value]
    position: int
    """Line in the file (csv, tsv, jsonl, txt; the first of a sentence in conll) or number of the record (json,
    parquet) or question (squad), from 1."""


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


def resolve_format(path: Path, options: ReadOptions) -> Format:
    """The format of a file: `options.format`, or what its extension says."""
    known = options.format or EXTENSIONS.get(path.suffix.lower())
    if known is None:
        open_file(path).close()  # that there is no such file is the better message
        what = f"its extension {path.suffix!r} is not a known one" if path.suffix else "it has no extension"
        raise mistake(path, None, f"can't tell the format of this file: {what}", NAME_A_FORMAT)
    return known


def read_rows(path: Path, options: ReadOptions) -> Iterator[Row]:
    """Every row of a file, in order; UserError at the first that can't be read."""
    match resolve_format(path, options):
        case "csv" | "tsv":
            return _delimited(path, options)
        case "json" | "squad" as form:
            return _json(path, must_be_squad=form == "squad")
        case "conll":
            return (Row(*found) for found in conll.sentences(path, options.columns, options.delimiter))
        case "jsonl":
            return _jsonl(path)
        case "parquet":
            return _parquet(path)
        case "txt":
            return (Row({"text": line}, number) for number, line in lines(path))


def peek(path: Path, options: ReadOptions, rows: int = 1000) -> Peek:
    """Columns, the first `rows` rows, and the number of rows where it is cheap to know."""
    first = tuple(islice(read_rows(path, options), rows))
    if not first:
        raise mistake(path, None, "holds no rows", "give a file with at least one row after the header line")
    names = dict.fromkeys(name for row in first for name in row.values)
    count = len(first) if len(first) < rows else count_rows(path, options)
    return Peek(tuple(names), first, count)


def count_rows(path: Path, options: ReadOptions) -> int | None:
    """Rows in the file, or None where that would mean reading a large file through a parser."""
    form = resolve_format(path, options)
    size = size_of(path)
    if form == "parquet":
        return int(_parquet_file(path).metadata.num_rows)
    if form in ("json", "squad", "conll") or (_quoted(form, options) and _contains_quotes(path, size)):
        return sum(1 for _ in read_rows(path, options)) if size <= FULL_READ_BYTES else None
    if size > COUNT_BYTES:
        return None
    blank = b"" if form == "txt" else b" \t\r\n" if form == "jsonl" else b"\r\n"
    with open_file(path) as file:
        count = sum(1 for line in file if not blank or line.strip(blank))
    return count - 1 if form in ("csv", "tsv") and options.header else count


def content_hash(path: Path) -> str:
    """sha256 of the file's bytes, in hexadecimal."""
    with open_file(path) as file:
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


def _delimited(path: Path, options: ReadOptions) -> Iterator[Row]:
    form = resolve_format(path, options)
    delimiter = options.delimiter or ("\t" if form == "tsv" else ",")
    if _quoted(form, options):
        records = _quoted_records(path, delimiter)
    else:
        records = ((number, line.split(delimiter)) for number, line in lines(path) if line)
    names = options.columns
    if options.header:
        position, header = next(records, (1, []))
        names = _header(path, position, header)
    extra_is_fine = options.columns is not None and not options.header
    for position, fields in records:
        if names is None:
            names = tuple(f"column{number}" for number in range(1, len(fields) + 1))
        if len(fields) != len(names) and not (extra_is_fine and len(fields) > len(names)):
            raise _ragged(path, position, fields, names, options)
        yield Row(dict(zip(names, fields, strict=False)), position)


def _quoted(form: Format, options: ReadOptions) -> bool:
    if form not in ("csv", "tsv"):
        return False
    return form == "csv" if options.quoting is None else options.quoting


def _quoted_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS))
    reader = csv.reader((line for _, line in raw_lines(path)), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            ended = "unexpected end" in str(error)
            text = f"a quoted field that begins here never ends ({error})" if ended else str(error)
            remedy = "data.quoting=false if quotes are ordinary characters"
            raise mistake(path, start, text, remedy) from None
        if fields:
            yield start, fields


def _contains_quotes(path: Path, size: int) -> bool:
    if size > FULL_READ_BYTES:
        return True
    with open_file(path) as file:
        return b'"' in file.read()


def _header(path: Path, position: int, fields: list[str]) -> tuple[str, ...]:
    if not fields:
        raise mistake(path, None, "is empty", "give a file with a header line and at least one row")
    names = tuple(field.strip() for field in fields)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        remedy = "data.header=false with data.columns=[...] if this line is not a header"
        raise mistake(path, position, f"the header names {', '.join(twice)} more than once", remedy)
    return names


def _ragged(
    path: Path, position: int, fields: list[str], names: Sequence[str], options: ReadOptions
) -> UserError:
    hints = ["data.quoting if quotes are read wrongly", "data.delimiter if columns are separated otherwise"]
    if any("\t" in field for field in fields):
        hints.insert(0, "data.format=tsv (the line holds tabs)")
    if options.header:
        hints.append("data.header=false with data.columns=[...] if the first line is not a header")
    text = f"{_counted(len(fields), 'field')}, but {_counted(len(names), 'column')} ({', '.join(names)})"
    return mistake(path, position, text, "mend the line, or set " + "; ".join(hints))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _jsonl(path: Path) -> Iterator[Row]:
    for position, line in lines(path):
        if line and not line.isspace():
            yield Row(_record(path, position, _parse(path, position, line)), position)


def _json(path: Path, must_be_squad: bool) -> Iterator[Row]:
    text = "".join(line for _, line in raw_lines(path))
    if not text.strip():
        raise mistake(path, None, "is empty", "give a list of objects")
    content = _parse(path, None, text)
    if must_be_squad or squad.is_squad(content):
        for position, question in enumerate(squad.questions(path, content), start=1):
            yield Row(question, position)
        return
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        remedy = "data.format=jsonl if there is one object on each line"
        raise mistake(path, None, 'is neither a list of objects nor {"data": [...]}', remedy)
    for position, record in enumerate(content, start=1):
        yield Row(_record(path, position, record), position)


def _parse(path: Path, position: int | None, text: str) -> Any:
    try:
        content = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no character
        return content
    except UnicodeEncodeError as error:
        text = f"holds half a surrogate pair: {error.object[error.start]!r}"
        raise mistake(path, position, text, None) from None
    except json.JSONDecodeError as error:
        line = error.lineno if position is None else position
        lines_of_objects = position is None and error.msg == "Extra data"
        remedy = "data.format=jsonl if there is one object on each line" if lines_of_objects else None
        raise mistake(path, line, f"is not JSON: {error.msg} at column {error.colno}", remedy) from None
    except (ValueError, RecursionError) as error:
        raise mistake(path, position, f"is not usable JSON: {error}", None) from None


def _record(path: Path, position: int, record: Any) -> dict[str, Value]:
    if not isinstance(record, dict):
        text = f"is not an object with named fields, but {json.dumps(record)[:60]}"
        raise mistake(path, position, text, 'write {"text": ..., "label": ...}')
    return record


def _parquet(path: Path) -> Iterator[Row]:
    position = 0
    for batch in _parquet_file(path).iter_batches(batch_size=1024):
        for record in batch.to_pylist():
            position += 1
            yield Row(record, position)


def _parquet_file(path: Path) -> Any:
    size_of(path)
    try:
        import pyarrow.parquet
    except ImportError:
        raise mistake(path, None, "parquet files need pyarrow", "pip install pyarrow") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise mistake(path, None, f"is not a parquet file: {error}", NAME_A_FORMAT) from None


def missing_files(paths: Iterable[Path]) -> list[Problem]:
    """A problem for each path that is not a readable file."""
    problems: list[Problem] = []
    for path in paths:
        try:
            open_file(path).close()
        except UserError as error:
            problems.extend(error.problems)
    return problems
