"""Files given to `eval` and `predict`, which are no part of a run's own data but are read as its recipe says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from launcher import tasks
from launcher.errors import Problem, UserError
from launcher.reading import missing_columns
from launcher.reading.cleaning import cleaner
from launcher.reading.data_section import options_for
from launcher.reading.files import Peek, labelled_rows, read_rows, words_are_lines
from launcher.reading.header_lines import header_among_rows
from launcher.reading.label_check import unknown_label
from launcher.reading.messages import where
from launcher.reading.nested import without_reached
from launcher.reading.opening import size_of
from launcher.reading.split_reading import EXAMPLES_SHOWN, FIRST_ROWS, SMALL_BYTES, bad_cells
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Mistake, Row


def given_rows(path: Path, recipe: Recipe, *, labelled: bool = False, most: int | None = None) -> list[Row]:
    """The first `most` rows of a file that has the recipe's texts, and its labels where it is `labelled`.

    Raises UserError with every column that is missing, or with the cells that don't fit.
    """
    options, spec = options_for(path, recipe.data), tasks.of(recipe)
    label = recipe.data.label if labelled and isinstance(recipe.data.label, str) else None
    rows = list(islice(labelled_rows(path, options, label), most))
    _look_through(path, rows, recipe, labelled=labelled)
    if labelled:
        _refuse(_bad_cells(path, map(cleaner(recipe), rows), recipe, spec.mistakes))
    return rows


@dataclass
class Looked:
    """What was seen of a file as its rows went by."""

    columns: dict[str, None] = field(default_factory=dict)
    """Those that rows have, in the order in which they come up, dotted names that reach into objects among them."""
    stored: dict[str, None] = field(default_factory=dict)
    """The same as they stand in the file."""
    first: list[Row] = field(default_factory=list)
    count: int = 0

    def passing(self, rows: Iterable[Row], nested: Sequence[str]) -> Iterator[Row]:
        """The rows, each after it was noted; the columns `nested` reach into objects."""
        for row in rows:
            self.count += 1
            self.columns.update(dict.fromkeys(row.values))
            self.stored.update(dict.fromkeys(without_reached(row.values, nested) if nested else row.values))
            if len(self.first) < FIRST_ROWS:
                self.first.append(row)
            yield row


def _look_through(path: Path, rows: Iterable[Row], recipe: Recipe, *, labelled: bool = False) -> Looked:
    """Look at every row and keep none. UserError with the columns that are missing, or with the cells that don't fit."""
    options, spec, looked = options_for(path, recipe.data), tasks.of(recipe), Looked()
    bad = _bad_cells(path, looked.passing(rows, options.nested), recipe, spec.text_mistakes)
    if not looked.count:
        raise UserError("holds no rows", where=str(path))
    columns = tuple(looked.columns)
    texts = spec.given_texts if labelled else spec.texts_to_predict(columns)
    wanted = [("data.text", name) for name in texts]
    wanted += [("data.choices", name) for name in spec.choice_columns]
    wanted += [("data.label", name) for name in spec.label_columns if labelled]
    missing = missing_columns.missing(path, Peek(columns, tuple(looked.first), None), options, wanted)
    _refuse(bad if missing is None else [missing])
    return looked


def look_to_predict(path: Path, recipe: Recipe, *, most: int | None = None) -> Looked:
    """Look through the first `most` rows of a file with the recipe's texts and with room for predictions.

    Raises UserError as `given_rows` does, and where a column has the name of a prediction.
    """
    looked = _look_through(path, islice(rows_to_predict(path, recipe), most), recipe)
    _refuse(
        Problem(f"has a column {name}, which predictions would overwrite", str(path), remedy="rename it")
        for name in tasks.of(recipe).outputs
        if name in looked.columns
    )
    return looked


def rows_to_predict(path: Path, recipe: Recipe) -> Iterator[Row]:
    """Every row of a file, read as it is asked for."""
    return read_rows(path, options_for(path, recipe.data))


def check_given(
    path: Path, recipe: Recipe, *, labelled: bool, sure_of_header: bool, known: Sequence[str] = ()
) -> None:
    """What can be known of a file before a model is loaded: small files whole, of larger ones the first rows.

    Raises UserError where it can't be read as the recipe says, holds labels that aren't `known`, holds texts where words with
    their tags are read, or begins with a header line although the recipe says that there is none; `sure_of_header` means that
    this was said of this very file.
    """
    most = None if size_of(path) <= SMALL_BYTES else FIRST_ROWS
    if not sure_of_header:
        _refuse_header(path, recipe, labelled=labelled)
    if labelled:
        _refuse_unknown_labels(path, given_rows(path, recipe, labelled=True, most=most), recipe, known)
    else:
        looked = look_to_predict(path, recipe, most=most)
        if looked.count == 1 and words_are_lines(path, options_for(path, recipe.data)):
            _refuse_texts(path, looked.first[0], recipe, known)


def _refuse_texts(path: Path, row: Row, recipe: Recipe, known: Sequence[str]) -> None:
    """Refuse lines that hold a text each, of which each would be one word: the last column then has none of the tags."""
    tags = row.values.get(str(recipe.data.label))
    if known and isinstance(tags, list) and not set(known).intersection(tags):
        text = f"each line is read as one word with its columns, and the last one ({tags[0]}) is none of the run's tags"
        raise UserError(
            text,
            str(path),
            remedy="data.format=txt if each line is a text, or data.columns=[...] if it isn't",
        )


def _refuse_unknown_labels(path: Path, rows: Sequence[Row], recipe: Recipe, known: Sequence[str]) -> None:
    spec, places, names = tasks.of(recipe), dict[str, str](), dict.fromkeys(known)
    for row in rows if known and isinstance(recipe.data.label, str) else ():
        for name in spec.class_names(row):
            places.setdefault(name, where(path, row.position))
    unknown = [name for name in places if spec.taken_for(name, names) is None][:EXAMPLES_SHOWN]
    if unknown:
        told = {name: unknown_label(name, known) for name in unknown}
        raise UserError(
            Problem(text, places[name], "data.label", recipe.data.label, remedy)
            for name, (text, remedy) in told.items()
        )


def _refuse_header(path: Path, recipe: Recipe, *, labelled: bool) -> None:
    names = header_among_rows(path, options_for(path, recipe.data))
    if not names:
        return
    text = f"the first line looks like a header ({', '.join(names)}), but the run's files have none"
    label = " data.label=COLUMN" if labelled and tasks.of(recipe).label_columns else ""
    remedy = f"data.header=true data.text=COLUMN{label}, or data.header=false if it is a row"
    raise UserError(text, where(path, 1), "data.header", "false", remedy)


def _bad_cells(
    path: Path, rows: Iterable[Row], recipe: Recipe, mistakes: Callable[[Row], Iterable[Mistake]]
) -> list[Problem]:
    found = bad_cells(recipe, path, rows, options_for(path, recipe.data), mistakes)
    return [replace(problem, remedy=problem.remedy and "mend or remove the row") for problem in found]


def _refuse(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise UserError(found)
