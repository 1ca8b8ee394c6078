"""How a file is to be read that nobody has described: its format, what separates columns, whether it has a header line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from launcher.drafts.data_files import FEW, NO_TABLES
from launcher.errors import UserError
from launcher.reading.files import read_rows, resolve_format
from launcher.reading.formats.conll import BETWEEN_DOCUMENTS
from launcher.reading.header_lines import header_line
from launcher.reading.opening import inner_name
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import lines
from launcher.recipe.data_formats import FormatName, extension, format_named
from launcher.tasks.shared.rows import Row, shown
from launcher.tasks.shared.sample import OURS, Said

ROWS = 10_000
"""First rows that guesses are made from, beside some of those behind them: files may be sorted by class."""
BEHIND, EACH = 400_000, 20
"""How many rows behind these are looked at, and of how many of them one is taken."""
DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
QUOTED = re.compile(r'(?<![^\t;|,\n])"(?:[^"]|"")*"')
"""A cell in quotes, which begins where a cell does."""
WHOLE = re.compile(r'"(?:[^"]|"")*"')
LONGEST_NAME = 40
STEADY = 0.95
"""Share of the lines that must have the same number of fields."""


@dataclass(frozen=True)
class Layout:
    """How a file is read, with the keys that say so."""

    options: ReadOptions
    keys: Mapping[str, Said]
    rows: tuple[Row, ...]
    """The first rows, read that way."""

    @property
    def names_are_ours(self) -> bool:
        """Whether the columns have no names, neither of their own in the file nor given by the user."""
        return not self.options.header and all(map(OURS.fullmatch, self.rows[0].values))

    def renamed(self, names: Mapping[str, str]) -> Layout:
        """The same with other names for columns that have none of their own."""
        columns = tuple(names.get(name, name) for name in self.rows[0].values)
        rows = tuple(
            Row(dict(zip(columns, row.values.values(), strict=False)), row.position) for row in self.rows
        )
        why = "The file has no names for its columns; these are ours."
        keys = {**self.keys, "data.columns": Said(list(columns), why)}
        return Layout(replace(self.options, columns=columns), keys, rows)


def layout_of(path: Path, said: Mapping[str, Any] | None = None) -> Layout:
    """The layout that was said by names of `ReadOptions`, or else the likeliest. Raises UserError where nothing can be read."""
    if said:
        return _read(path, ReadOptions(**said), {})
    named = format_named(path) or format_named(inner_name(path) or "")
    if named not in (None, "txt", "csv", "tsv", "json"):
        return _read(path, ReadOptions(), {})
    if extension(path) in NO_TABLES:
        what = f"{extension(path)} files hold no rows that could be read"
        raise UserError(what, str(path), remedy="write it as csv or jsonl, a column for each thing")
    first = [line for _, line in islice(lines(path), FEW)]
    told = _by_content(first, named)
    if told is not None:
        name, why = told
        said = {} if name == named else {"data.format": Said(name, why)}
        return _read(path, ReadOptions(format=name), said)
    if named == "json":
        return _read(path, ReadOptions(), {})
    return (
        (_named_csv(path) if named in (None, "txt") else None)
        or _table(path, first, named)
        or _read(path, ReadOptions(format=named or "txt"), _plain(named))
    )


def _plain(named: FormatName | None) -> dict[str, Said]:
    return {} if named else {"data.format": Said("txt", "Lines of text.")}


def _by_content(first: Sequence[str], named: FormatName | None) -> tuple[FormatName, str] | None:
    """The format that the first lines can only have, and how that shows; None for tables and plain text."""
    filled = [line for line in first if line.strip()]
    objects = [line for line in filled if line.startswith("{") and line.rstrip().endswith("}")]
    if named in (None, "txt", "json") and len(filled) > 1 and objects == filled:
        return "jsonl", "Each line is a JSON object."
    if named in (None, "txt") and filled and filled[0].startswith(("[", "{")):
        return "json", "The file is a JSON document."
    if named in (None, "txt", "tsv") and _is_columns_of_words(first):
        return "conll", "A word on each line with its tags, and an empty line after each sentence."
    return None


def _is_columns_of_words(first: Sequence[str]) -> bool:
    words = [line.split() for line in first if line.strip() and not line.startswith((BETWEEN_DOCUMENTS, "#"))]
    breaks = sum(not line.strip() for line in first)
    widths = Counter(map(len, words))
    if not words or not breaks or len(words) < 2 * breaks:
        return False
    width, count = widths.most_common(1)[0]
    last = {fields[-1] for fields in words}
    return width > 1 and count >= STEADY * len(words) and 2 * len(last) < max(4, len(words))


# Tables


def _table(path: Path, first: Sequence[str], named: FormatName | None) -> Layout | None:
    """The file as a table of two or more columns; None where its lines are no such thing."""
    for options, keys in _candidates(first, named):
        try:
            plain = list(islice(read_rows(path, replace(options, header=False, columns=None)), FEW))
        except UserError as error:
            plain = _wide_enough(path, options, error)
        if plain and len(plain[0].values) > 1:
            return _with_header(path, options, keys, plain)
    if named in ("csv", "tsv"):
        return _read(path, ReadOptions(), {})
    return None


def _named_csv(path: Path) -> Layout | None:
    """A table behind a name that tells no format: commas stand in texts too, so its first line must name its columns."""
    options = ReadOptions(format="csv")
    try:
        plain = list(islice(read_rows(path, replace(options, header=False)), FEW))
    except UserError:  # texts have commas as they come, a table as many in each line
        return None
    if len(plain) < 2 or len(plain[0].values) < 2 or not header_line(plain):
        return None
    why = "Columns are separated by commas, and the first line names them."
    return _read(path, options, {"data.format": Said("csv", why)})


def _candidates(
    first: Sequence[str], named: FormatName | None
) -> Iterator[tuple[ReadOptions, dict[str, Said]]]:
    """Ways of reading lines as columns, the likeliest first."""
    steady = {mark: _steady(first, mark) for mark in DELIMITERS}
    if max(steady.values()) < 2:  # a cell in quotes may hold whole lines
        bare = QUOTED.sub("", "\n".join(first)).splitlines()
        steady = {mark: _steady(bare, mark) for mark in DELIMITERS}
    own = {"csv": ",", "tsv": "\t"}.get(named or "", "")
    marks = sorted((mark for mark, width in steady.items() if width > 1), key=lambda mark: mark != "\t")
    in_texts = own == "," and "\t" in marks  # commas stand in texts too, tabs don't
    if own and (own in marks or not marks) and not in_texts:
        marks = [own, *(mark for mark in marks if mark != own)]
    if marks and marks[0] == "\t" and _in_quotes(first):
        form = {} if named == "tsv" else {"data.format": Said("tsv", "Columns are separated by tabs.")}
        why = "Cells stand in quotes, which are taken off."
        yield (
            ReadOptions(format="tsv" if form else None, quoting=True),
            {**form, "data.quoting": Said(True, why)},
        )
    for mark in marks:
        said = f"Columns are separated by {DELIMITERS[mark]}."
        if mark == own:
            yield ReadOptions(), {}
        elif mark == "\t":
            yield ReadOptions(format="tsv"), {"data.format": Said("tsv", said)}
        elif named is not None and named != "txt":
            yield ReadOptions(delimiter=mark), {"data.delimiter": Said(mark, said)}
        elif mark != ",":  # commas stand in texts too
            yield (
                ReadOptions(format="csv", delimiter=mark),
                {"data.format": Said("csv", said), "data.delimiter": Said(mark, said)},
            )
    if own == ",":
        why = "Quotes are ordinary characters here: they don't close."
        yield ReadOptions(quoting=False), {"data.quoting": Said(False, why)}
        yield ReadOptions(), {}


def _in_quotes(first: Sequence[str]) -> bool:
    """Whether tabs separate cells that stand in quotes as csv writes them: every cell that begins with one ends so."""
    begun = [cell for line in first for cell in line.split("\t") if cell.startswith('"')]
    whole = bool(begun) and all(WHOLE.fullmatch(cell) for cell in begun)
    header = [cell for line in first[:1] for cell in line.split("\t")]
    return whole and (any('""' in cell[1:-1] for cell in begun) or all(cell in begun for cell in header))


def _steady(first: Sequence[str], mark: str) -> int:
    """Fields that nearly all lines have at least, were they separated by `mark`; 0 where some have none."""
    filled = [line for line in first if line]
    widths = sorted(line.count(mark) + 1 for line in filled)
    return widths[int((1 - STEADY) * len(widths))] if widths else 0


def _wide_enough(path: Path, options: ReadOptions, error: UserError) -> list[Row]:
    """The rows of a table whose lines have at least as many fields as most; what some have beyond is left out.

    Raises the error that they can't be read with where nearly all lines have as many, and some less.
    """
    mark = options.delimiter or ("\t" if resolve_format(path, options) == "tsv" else ",")
    widths = Counter(line.count(mark) + 1 for _, line in islice(lines(path), ROWS) if line)
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    if width < 2:
        return []
    if min(widths) < width:
        if mark == "\t" and count >= STEADY * widths.total():
            raise error
        width = min(widths)
    columns = tuple(f"column{number}" for number in range(1, width + 1))
    try:
        return list(islice(read_rows(path, replace(options, header=False, columns=columns)), FEW))
    except UserError:
        return []


def _with_header(path: Path, options: ReadOptions, keys: dict[str, Said], plain: Sequence[Row]) -> Layout:
    names = header_of(plain)
    if names:
        return _read(path, options, keys)
    first = shown(next(iter(plain[0].values.values())))
    why = f"The first line ({first}, ...) looks like all others, and like no names of columns."
    options = replace(options, header=False, columns=tuple(plain[0].values))
    return _read(path, options, {**keys, "data.header": Said(False, why)})


def header_of(rows: Sequence[Row]) -> tuple[str, ...] | None:
    """The cells of the first row where they are names of columns rather than one more row.

    Some may be empty, and where two are alike the reader says so.
    """
    if found := header_line(rows):
        return found
    first, *others = ([str(value).strip() for value in row.values.values()] for row in rows)
    if not others or not any(first) or any(len(name) > LONGEST_NAME for name in first):
        return None
    columns = list(zip(*others, strict=False))
    if any(name and name in column for name, column in zip(first, columns, strict=False)):
        return None
    return tuple(first) if any(map(_is_above, first, columns)) else None


def _is_above(name: str, column: Sequence[str]) -> bool:
    """Whether a cell stands above a column of another kind: of numbers, of names that come again, or of long texts."""
    numbers = len(column) > 1 and all(cell.replace(".", "", 1).lstrip("-").isdecimal() for cell in column)
    again = len(column) > 5 and min(Counter(column).values()) > 1 and len(set(column)) <= len(column) / 4
    lengths = sorted(map(len, column))
    longer = len(column) > 5 and lengths[len(column) // 10] > 2 * len(name) and lengths[len(column) // 2] > 30
    return bool(name) and not name.replace(".", "", 1).isdecimal() and (numbers or again or longer)


def _read(path: Path, options: ReadOptions, keys: Mapping[str, Said]) -> Layout:
    every = read_rows(path, options)
    first = tuple(islice(every, ROWS))
    return Layout(options, dict(keys), (*first, *islice(every, EACH - 1, BEHIND, EACH)))
