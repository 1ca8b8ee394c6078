"""Tables of text, a row on a line: csv with double quotes around fields (RFC 4180), and tsv without."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from launcher.errors import UserError
from launcher.figures import quantity
from launcher.reading.messages import into_new, mistake
from launcher.reading.opening import open_file, size_of
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import (
    COUNT_BYTES,
    FULL_READ_BYTES,
    LINE_CHARACTERS,
    count_lines,
    open_text,
    raw_lines,
)
from launcher.tasks.shared.rows import Row

FIELD_CHARACTERS = LINE_CHARACTERS
"""Longest quoted field; Python's own limit of 128 KiB is shorter than some documents."""
SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?[\r\n]*')
"""The line by which Excel is told what separates columns; it stands before the header."""
LINES_ON = 20
"""Lines of a quoted field that are looked at behind the one where it begins."""
JSON = ('{"', "[{", "{'")
NO_TABLE = "looks like JSON, not like a table", "data.format=jsonl, or data.format=json"
CR_WITHIN = "holds a carriage return (CR) within a line, as where line ends are mixed"


@dataclass(frozen=True)
class Dialect:
    """What a format means where the recipe says nothing."""

    delimiter: str
    quoting: bool


CSV = Dialect(",", quoting=True)
TSV = Dialect("\t", quoting=False)


def rows(path: Path, options: ReadOptions, dialect: Dialect) -> Iterator[Row]:
    """Each line as a row; UserError at one that hasn't as many fields as there are columns."""
    records = _records(path, options, dialect)
    names = options.columns
    if options.header:
        position, header = next(records, (1, []))
        names = _header(path, position, header)
    extra_is_fine = options.columns is not None and not options.header
    for position, fields in records:
        if names is None:
            names = tuple(f"column{number}" for number in range(1, len(fields) + 1))
        if len(fields) != len(names) and not (extra_is_fine and len(fields) > len(names)):
            if dialect.quoting and _has_escapes(path, position):
                raise _escaped(path, position)
            raise _ragged(path, position, fields, names, options, dialect)
        yield Row(dict(zip(names, fields, strict=False)), position)


def count(path: Path, options: ReadOptions, dialect: Dialect) -> int | None:
    """Rows in the file, or None where they can't be counted without reading a large one whole."""
    if _is_quoted(options, dialect) and _contains_quotes(path):
        large = size_of(path) > FULL_READ_BYTES
        return _count_large(path, options, dialect) if large else sum(1 for _ in rows(path, options, dialect))
    number = count_lines(path, but="\r\n")
    if number is None:
        return None
    return number - options.header - (_separator(path) is not None)


def _count_large(path: Path, options: ReadOptions, dialect: Dialect) -> int | None:
    """Rows of a file with quotes, about 150 MB a second; None where it is larger than what is counted at all."""
    if size_of(path) > COUNT_BYTES:
        return None
    separator = _separator(path)
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS))
    try:
        with open_text(path) as file:
            records = csv.reader(file, delimiter=_delimiter(separator, options, dialect), strict=True)
            number = sum(1 for fields in records if fields)
    except (csv.Error, UnicodeDecodeError):
        return sum(1 for _ in rows(path, options, dialect))  # which says where the mistake is
    return number - options.header - (separator is not None)


def likely_delimiter(columns: Sequence[str], wanted: Sequence[str] = ()) -> str | None:
    """What probably separates the columns of a file that was read as one column, or as columns without those `wanted`."""
    for delimiter in ("\t", ";", "|", ","):
        found = [part.strip().strip('"') for column in columns for part in column.split(delimiter)]
        if any(name in found and name not in columns for name in wanted) or (
            not wanted and len(columns) == 1 and len(found) > 1
        ):
            return delimiter
    return None


def delimiter_key(delimiter: str) -> str:
    """The key that says that a file is separated by this character."""
    formats = {"\t": "data.format=tsv", ",": "data.format=csv"}
    return formats.get(delimiter, f'data.delimiter="{delimiter}"')


def _is_quoted(options: ReadOptions, dialect: Dialect) -> bool:
    return dialect.quoting if options.quoting is None else options.quoting


def _records(path: Path, options: ReadOptions, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    separator = _separator(path)
    delimiter = _delimiter(separator, options, dialect)
    numbered = raw_lines(path)
    if separator is not None:
        next(numbered)
    if _is_quoted(options, dialect):
        return _quoted_records(path, numbered, delimiter, 1 if separator is None else 2)
    plain = ((number, line.removesuffix("\n").removesuffix("\r")) for number, line in numbered)
    return ((number, line.split(delimiter)) for number, line in plain if line)


def _delimiter(separator: str | None, options: ReadOptions, dialect: Dialect) -> str:
    """What separates the columns of a file, whose first line may name it."""
    return options.delimiter or separator or dialect.delimiter


def _separator(path: Path) -> str | None:
    """The character that the first line names as the separator, as Excel has it: `sep=;`."""
    found = SEPARATOR_LINE.fullmatch(next(raw_lines(path), (1, ""))[1])
    return found[1] if found else None


def _quoted_records(
    path: Path, numbered: Iterator[tuple[int, str]], delimiter: str, first: int
) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS))
    reader = csv.reader((line for _, line in numbered), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + first
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unreadable(path, start, str(error)) from None
        if fields:
            yield start, fields


def _unreadable(path: Path, position: int, error: str) -> UserError:
    if "new-line character" in error:
        return _cr_within(path, position)
    if _has_escapes(path, position):
        return _escaped(path, position)
    if next(raw_lines(path))[1].startswith(JSON):
        return mistake(path, 1, *NO_TABLE)
    text = error
    if "unexpected end" in error:
        text = f"a quoted field that begins here never ends ({error})"
    if "field larger" in error:
        text = f"a quoted field that begins here is longer than {FIELD_CHARACTERS:,} characters: does it ever end?"
    return mistake(path, position, text, "data.quoting=false if quotes are ordinary characters")


def _has_escapes(path: Path, position: int) -> bool:
    """Whether a quote stands behind a backslash in the line, or where a quoted field goes on."""
    return any('\\"' in line for _, line in islice(raw_lines(path), position - 1, position + LINES_ON))


def _escaped(path: Path, position: int) -> UserError:
    text = "has a quote behind a backslash; within quotes csv writes it twice"
    return mistake(path, position, text, rf"""sed 's/\\"/""/g' {into_new(path)} writes them so""")


def _cr_within(path: Path, position: int) -> UserError:
    return mistake(path, position, CR_WITHIN, f"make them alike: tr '\\r' '\\n' < {into_new(path)}")


def _contains_quotes(path: Path) -> bool:
    if size_of(path) > FULL_READ_BYTES:
        return True
    with open_file(path) as file:
        return b'"' in file.read()


def _header(path: Path, position: int, fields: list[str]) -> tuple[str, ...]:
    if not fields:
        raise mistake(path, None, "is empty", "give a file with a header line and at least one row")
    if fields[0].startswith(JSON):
        raise mistake(path, position, *NO_TABLE)
    names = tuple(field.strip() for field in fields)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        remedy = "rename one of them, or, if this line is not a header, data.header=false data.columns=[...]"
        raise mistake(path, position, f"the header names {', '.join(twice)} more than once", remedy)
    return names


def _ragged(
    path: Path,
    position: int,
    fields: list[str],
    names: Sequence[str],
    options: ReadOptions,
    dialect: Dialect,
) -> UserError:
    if any("\r" in field for field in fields):
        return _cr_within(path, position)
    text = f"{quantity(len(fields), 'field')}, but {quantity(len(names), 'column')} ({', '.join(names)})"
    if len(fields) > len(names) and not any(fields[len(names) :]):
        remedy = "remove the delimiter at the end of the lines, or name the empty column in the header"
        return mistake(path, position, f"{text}: the line ends with a delimiter", remedy)
    if any(field.startswith(' "') for field in fields):
        text += ": a blank stands before a quote"
        return mistake(path, position, text, f"""sed 's/, "/,"/g' {into_new(path)} takes it out""")
    _, first_line = next(_records(path, options, dialect))
    if (likely := likely_delimiter(first_line)) not in (None, _delimiter(_separator(path), options, dialect)):
        remedy = f"{delimiter_key(likely)} (columns seem to be separated by {likely!r})"
        return mistake(path, position, text, remedy)
    if options.header and len(names) == 1:
        remedy = f"take it out: sed 1d {into_new(path)}"
        return mistake(path, position, f"{text}: the first line looks like a title of the table", remedy)
    if not _is_quoted(options, dialect) and re.match('"[^"]*$', fields[-1]):
        text += ": a field that a quote begins goes on in the next line"
        return mistake(path, position, text, "data.quoting=true if quotes enclose fields")
    if not _is_quoted(options, dialect) and not options.quoting and len(fields) < len(names):
        return _short(path, position, text, len(names), options.delimiter or dialect.delimiter)
    hints = ["data.quoting if quotes are read wrongly", "data.delimiter if columns are separated otherwise"]
    if options.header:
        hints.append("data.header=false with data.columns=[...] if the first line is not a header")
    else:
        hints.append("data.columns=[...] if the file has other columns")
    return mistake(path, position, text, "mend the line, or set " + "; ".join(hints))


def _short(path: Path, position: int, text: str, width: int, delimiter: str) -> UserError:
    """What to do with lines that lack fields, where no quotes could hold more of them."""
    if size_of(path) > FULL_READ_BYTES:
        return mistake(path, position, text, "mend or remove the line")
    plain = (line.rstrip("\r\n") for _, line in raw_lines(path))
    fits = [line.count(delimiter) + 1 == width for line in plain if line]
    wrong = fits.count(False)
    if not any(fits):
        text += ", and all lines are so"
        return mistake(path, position, text, "data.columns=[...] names what there is")
    if len(fits) > 2 and not any(fits[1:]):
        return mistake(path, position, f"{text}, and all other lines are so", "mend the header")
    shown = {"\t": "\\t"}.get(delimiter, delimiter)
    remedy = f"mend the line, or awk -F'{shown}' 'NF=={width}' {into_new(path)} leaves such lines out"
    return mistake(path, position, f"{text}; {quantity(wrong, 'line')} in all so", remedy)
