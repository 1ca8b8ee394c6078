"""Columns that a recipe names and a file doesn't have: said once, with the key that probably mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.errors import Problem, choices
from launcher.reading.files import Peek, resolve_format
from launcher.reading.formats.delimited import delimiter_key, likely_delimiter
from launcher.reading.messages import where
from launcher.reading.nested import names_within
from launcher.reading.options import ReadOptions
from launcher.recipe.data_formats import COLUMNS_OF_WORDS

NO_SUCH = "no such column in the file"
NONE_OF = "no such columns in the file: "
FASTTEXT = (
    "sed -E 's/^__label__([^ ]+) /\\1\\t/' FILE > NEW.tsv, then data.train=NEW.tsv data.header=false data.columns=[label,text]"
    " (the lines are those of fastText)"
)
LINE_START = 10_000
"""Characters of a line from which its form is told."""
Wanted = Sequence[tuple[str, str]]
"""Keys of the recipe, each with a column that it names."""


def missing(path: Path, seen: Peek, options: ReadOptions, wanted: Wanted) -> Problem | None:
    """What is wrong with a file that was read with `options` and lacks some of the columns `wanted`; None where it has them."""
    lacking = [(key, column) for key, column in dict.fromkeys(wanted) if column not in seen.columns]
    if not lacking:
        return None
    remedy = _certain(path, seen, options, [column for _, column in lacking])
    if (
        remedy is None
        and resolve_format(path, options) == "txt"
        and [key for key, _ in lacking] == ["data.text"]
    ):
        remedy = "data.text=text (each line of the file is one)"
    remedy = remedy or _choices(seen, lacking) + _hints(path, seen, options)
    if len(lacking) == 1:
        return Problem(NO_SUCH, where(path, None), *lacking[0], remedy)
    text = NONE_OF + ", ".join(f"{key}={column}" for key, column in lacking)
    return Problem(text, where(path, None), None, None, remedy)


def told_once(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, those of columns that several files lack as one with all the files, where the first of them stood."""
    alike: dict[object, list[Problem]] = {}
    for number, problem in enumerate(problems):
        is_missing = problem.message == NO_SUCH or problem.message.startswith(NONE_OF)
        key = (problem.message, problem.field, str(problem.value)) if is_missing else number
        alike.setdefault(key, []).append(problem)
    return [_with_places(group) for group in alike.values()]


def _with_places(group: Sequence[Problem]) -> Problem:
    places = dict.fromkeys(problem.where for problem in group if problem.where)
    return replace(group[0], where=", ".join(places) or None)


def _certain(path: Path, seen: Peek, options: ReadOptions, lacking: Sequence[str]) -> str | None:
    """The key that makes columns of what is there: another separator, or quotes around the names."""
    form = resolve_format(path, options)
    first_line = (str(seen.rows[0].values.get("text"))[:LINE_START],) if form == "txt" else seen.columns
    if form not in ("csv", "tsv", "txt"):
        return None
    if form != "txt" and all(f'"{column}"' in seen.columns for column in lacking):
        return "data.quoting=true (the names of the columns stand in quotes)"
    likely = likely_delimiter(first_line, lacking)
    if likely is None:
        return _table_without_names(seen) if form == "txt" else None
    why = f" (columns seem to be separated by {likely!r})"
    key = delimiter_key(likely)
    return (f"data.format=csv {key}" if form == "txt" and "format" not in key else key) + why


def _table_without_names(seen: Peek) -> str | None:
    """What a .txt file is that holds more than texts: tab-separated columns, or a word with its tags on each line."""
    lines = [str(row.values.get("text"))[:LINE_START] for row in seen.rows]
    full = [line for line in lines if line.strip() and not line.startswith("# ")]
    if full and all(line.startswith("__label__") for line in full):
        return FASTTEXT
    if full and full[0].count("\t") == 9 and full[0].startswith("1"):
        return "data.format=conllu (the lines have its ten columns)"
    if len({line.count("\t") for line in full}) == 1 and "\t" in full[0] and len(full) == len(lines):
        return "data.format=tsv data.header=false data.columns=[...] (the lines hold tabs)"
    widths = {len(re.split(r"[ \t]+", line.strip())) for line in full}
    if len(widths) == 1 and widths != {1} and len(full) < len(lines):
        return "data.format=conll (a word with its tags seems to stand on each line)"
    return None


def _choices(seen: Peek, lacking: Wanted) -> str:
    within = [
        name
        for row in seen.rows[:1]
        for key, value in row.values.items()
        for name in names_within(key, value)
    ]
    names = [*seen.columns, *(name for name in within if name not in seen.columns)]
    return choices(lacking[0][1], names) if len(lacking) == 1 else "there are: " + ", ".join(names)


def _hints(path: Path, seen: Peek, options: ReadOptions) -> str:
    form = resolve_format(path, options)
    if form in COLUMNS_OF_WORDS:
        return "; data.columns=[...] names the columns otherwise"
    if form not in ("csv", "tsv"):
        return ""
    hints = []
    if form == "csv" and "\t" in "".join(seen.columns):
        hints.append("data.format=tsv (the first line holds tabs)")
    if options.header:
        hints.append("data.header=false data.columns=[...] if the first line is not a header")
    return "".join(f"; or set {hint}" for hint in hints)
