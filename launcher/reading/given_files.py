"""Files given to `eval` and `predict`, which are no part of a run's own data but are read as its recipe says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from launcher import tasks
from launcher.errors import Problem, UserError
from launcher.reading import missing_columns
from launcher.reading.cleaning import cleaner
from launcher.reading.data_section import options_for
from launcher.reading.files import Peek, read_rows, resolve_format
from launcher.reading.label_check import unknown_label
from launcher.reading.messages import where
from launcher.reading.opening import size_of
from launcher.reading.options import ReadOptions
from launcher.reading.split_reading import EXAMPLES_SHOWN, FIRST_ROWS, SMALL_BYTES, bad_cells
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Mistake, Row

NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
"""What a column may be called; texts are longer, labels are often numbers."""
USUAL_NAMES = frozenset(
    {
        "id",
        "idx",
        "index",
        "qid",
        "guid",
        "uid",
        "text",
        "texts",
        "sentence",
        "sentence1",
        "sentence2",
        "question",
    }
    | {
        "context",
        "answer",
        "answers",
        "title",
        "body",
        "review",
        "label",
        "labels",
        "tag",
        "tags",
        "class",
        "category",
    }
    | {
        "target",
        "score",
        "rating",
        "query",
        "document",
        "word",
        "words",
        "token",
        "tokens",
        "premise",
        "hypothesis",
    }
)


def given_rows(path: Path, recipe: Recipe, *, labelled: bool = False, most: int | None = None) -> list[Row]:
    """The first `most` rows of a file that has the recipe's texts, and its labels where it is `labelled`.

    Raises UserError with every column that is missing, or with the cells that don't fit.
    """
    options, spec = options_for(path, recipe.data), tasks.of(recipe)
    rows = list(islice(read_rows(path, options), most))
    if not rows:
        raise UserError(Problem("holds no rows", where=str(path)))
    columns = tuple(dict.fromkeys(name for row in rows for name in row.values))
    texts = spec.given_texts if labelled else spec.texts_to_predict(columns)
    wanted = [("data.text", name) for name in texts]
    wanted += [("data.choices", name) for name in spec.choice_columns]
    wanted += [("data.label", name) for name in spec.label_columns if labelled]
    missing = missing_columns.missing(path, Peek(columns, tuple(rows), None), options, wanted)
    if missing is not None:
        raise UserError(missing)
    _need_cells(path, rows, recipe, spec.text_mistakes)
    if labelled:
        _need_cells(path, map(cleaner(recipe), rows), recipe, spec.mistakes)
    return rows


def rows_to_predict(path: Path, recipe: Recipe, *, most: int | None = None) -> list[Row]:
    """The `given_rows` of a file that has room for the predictions. UserError where a column has the name of one."""
    rows = given_rows(path, recipe, most=most)
    taken = [name for name in tasks.of(recipe).outputs if any(name in row.values for row in rows)]
    if taken:
        raise UserError(
            Problem(f"has a column {name}, which predictions would overwrite", str(path), remedy="rename it")
            for name in taken
        )
    return rows


def check_given(
    path: Path, recipe: Recipe, *, labelled: bool, sure_of_header: bool, known: Sequence[str] = ()
) -> None:
    """What can be known of a file before a model is loaded: small files whole, of larger ones the first rows.

    Raises UserError where it can't be read as the recipe says, holds labels that aren't `known`, or begins with a header line
    although the recipe says that there is none; `sure_of_header` means that this was said of this very file.
    """
    most = None if size_of(path) <= SMALL_BYTES else FIRST_ROWS
    if not sure_of_header:
        _refuse_header(path, recipe)
    if labelled:
        _refuse_unknown_labels(path, given_rows(path, recipe, labelled=True, most=most), recipe, known)
    else:
        rows_to_predict(path, recipe, most=most)


def header_line(rows: Sequence[Row]) -> tuple[str, ...] | None:
    """The cells of the first row where they look like names of columns; None where they look like all the others.

    It may stand again, where files were put together. Some may be empty: pandas writes the numbers of rows below no name,
    Excel the columns behind a table.
    """
    first, *others = ([str(value) for value in row.values.values()] for row in rows)
    names = [name.strip() for name in first]
    given = [name for name in names if name]
    if not given or not all(map(NAME.fullmatch, given)) or len(set(given)) < len(given):
        return None
    columns = list(zip(*(cells for cells in others if cells != first), strict=False))
    if any(name and name in column for name, column in zip(first, columns, strict=False)):
        return None
    usual = any(name.lower() in USUAL_NAMES or "_" in name for name in names)
    named = [column for name, column in zip(names, columns, strict=False) if name]
    numbers = any(len(column) > 1 and all(map(_is_number, column)) for column in named)
    return tuple(names) if usual or numbers else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+", text.strip()) is not None


def _refuse_unknown_labels(path: Path, rows: Sequence[Row], recipe: Recipe, known: Sequence[str]) -> None:
    spec, places = tasks.of(recipe), dict[str, str]()
    for row in rows if known and isinstance(recipe.data.label, str) else ():
        for name in spec.class_names(row):
            places.setdefault(name, where(path, row.position))
    unknown = [name for name in places if spec.taken_for(name, known) is None][:EXAMPLES_SHOWN]
    if unknown:
        told = {name: unknown_label(name, known) for name in unknown}
        raise UserError(
            Problem(text, places[name], "data.label", recipe.data.label, remedy)
            for name, (text, remedy) in told.items()
        )


def header_among_rows(path: Path, options: ReadOptions) -> tuple[str, ...] | None:
    """The names in the first line of a table that is read without a header, where they look like names of columns."""
    if options.header or resolve_format(path, options) not in ("csv", "tsv"):
        return None
    # Without names every column of the file is seen, not only those that the recipe names.
    rows = islice(read_rows(path, replace(options, columns=None)), FIRST_ROWS)
    return header_line(list(rows) or [Row({}, 1)])


def _refuse_header(path: Path, recipe: Recipe) -> None:
    names = header_among_rows(path, options_for(path, recipe.data))
    if not names:
        return
    text = f"the first line looks like a header ({', '.join(names)}), but the run's files have none"
    remedy = "data.header=true data.text=COLUMN data.label=COLUMN, or data.header=false if it is a row"
    raise UserError(Problem(text, where(path, 1), "data.header", "false", remedy))


def _need_cells(
    path: Path, rows: Iterable[Row], recipe: Recipe, mistakes: Callable[[Row], Iterable[Mistake]]
) -> None:
    problems = list(bad_cells(recipe, path, rows, options_for(path, recipe.data), mistakes))
    if problems:
        raise UserError(
            replace(problem, remedy=problem.remedy and "mend or remove the row") for problem in problems
        )
