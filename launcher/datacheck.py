"""Checks local data against the recipe before anything is queued, and says how much of it there is.

Small files are read whole; of larger ones the first rows, and their lines are counted. What stands deeper in a
large file, or on the hub, only a node can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher import labels
from launcher.columns import label_columns, text_columns
from launcher.datafiles import Peek, ReadOptions, Row, peek, resolve_format, split_sizes, where
from launcher.errors import Problem, UserError, choices, nearest
from launcher.recipe import Data, Files, Recipe

SMALL_BYTES = 1 << 20
"""Files up to this size are read whole, in about a tenth of a second."""
FIRST_ROWS = 1000
"""Rows read of larger files."""
EXAMPLES_SHOWN = 3
"""Bad cells reported for each file; the others are counted."""


@dataclass(frozen=True)
class DataFacts:
    """What is known about the data without a node; None where it isn't."""

    train_examples: int | None = None
    """Training examples, after data.split and data.limit."""
    validation_examples: int | None = None
    test_examples: int | None = None
    columns: tuple[str, ...] = ()
    """Columns of the first training file."""
    labels: int | None = None
    """Number of classes (or of scores: 1 for regression)."""
    mean_chars: float | None = None
    """Mean length of a text, or of both texts of a pair, in characters, over the training rows read."""
    notes: tuple[str, ...] = ()
    """Sentences worth showing with the plan."""


def check_data(recipe: Recipe) -> DataFacts:
    """What local files hold; UserError with every mistake found in them or between them and the recipe."""
    problems = list(_contradictions(recipe.data))
    if recipe.data.train is None or recipe.data.source is not None:
        return _done(DataFacts(), problems)
    train = _Split.read("train", recipe, problems)
    validation = _Split.read("validation", recipe, problems)
    test = _Split.read("test", recipe, problems)
    problems.extend(_label_sets(recipe, train, (validation, test)))
    sizes = _sizes(recipe, train, validation, test, problems)
    facts = DataFacts(
        *sizes,
        columns=train.columns,
        labels=_label_count(recipe, train),
        mean_chars=train.characters / train.rows if train.rows else None,
        notes=tuple(_notes(train, validation, test)),
    )
    return _done(facts, problems)


def read_options(data: Data) -> ReadOptions:
    """How the recipe says that files are to be read."""
    return ReadOptions(data.header, data.columns, data.delimiter, data.quoting, data.format)


def files(value: Files | None) -> tuple[Path, ...]:
    """The file or files of a data.train, data.validation or data.test as paths."""
    if value is None:
        return ()
    return tuple(Path(name) for name in ((value,) if isinstance(value, str) else value))


def cut_fractions(data: Data) -> tuple[float, float, float] | None:
    """Shares of the training data for train, validation and test, or None where validation data are given."""
    local = data.source is None
    if (data.validation if local else data.validation_split) is not None:
        return None
    if data.split is None:
        has_test = (data.test if local else data.test_split) is not None
        return (0.85, 0.15, 0.0) if has_test else (0.7, 0.15, 0.15)
    return (data.split[0], data.split[1], data.split[2] if len(data.split) == 3 else 0.0)


def label_mistakes(recipe: Recipe, row: Row) -> Iterator[tuple[str, str]]:
    """(column, what is wrong) for each label cell of a row that doesn't fit the task."""
    label = recipe.data.label
    if isinstance(label, str):
        wrong = labels.mistake(recipe.task, row.values.get(label), recipe.data.label_delimiter)
        if wrong:
            yield label, wrong
        return
    for column in label:
        wrong = labels.flag_mistake(row.values.get(column))
        if wrong:
            yield column, wrong


def unknown_label(name: str, known: Sequence[str]) -> tuple[str, str]:
    """Message and remedy for a label that the training data don't have."""
    shown = known if len(known) <= 20 else (*known[:20], "...")
    guess = nearest(name, known)
    hint = f"did you mean {guess}? " if guess else ""
    return f"label {name!r} is not in the training data", f"{hint}labels there: {', '.join(shown)}"


@dataclass
class _Split:
    """What was learnt from reading the files of one split."""

    name: str
    given: bool
    count: int | None = 0
    complete: bool = True
    columns: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    """Class -> where it was seen first."""
    rows: int = 0
    characters: int = 0
    empty: int = 0
    failed: bool = False

    @classmethod
    def read(cls, name: str, recipe: Recipe, problems: list[Problem]) -> _Split:
        paths = files(getattr(recipe.data, name))
        split = cls(name, given=bool(paths))
        for path in paths:
            try:
                split._add(path, recipe, problems)
            except UserError as error:
                split.failed = True
                problems.extend(_with_field(error.problems, f"data.{name}"))
        return split

    def _add(self, path: Path, recipe: Recipe, problems: list[Problem]) -> None:
        options = read_options(recipe.data)
        seen = _read(path, options)
        self.columns = self.columns or seen.columns
        self.complete = self.complete and seen.complete
        self.count = None if self.count is None or seen.count is None else self.count + seen.count
        missing = list(missing_columns(recipe, path, seen, self.name))
        problems.extend(missing)
        self.failed = self.failed or bool(missing)
        if missing:
            return
        problems.extend(_bad_cells(recipe, path, seen.rows))
        for row in seen.rows:
            self._learn(recipe, path, row)

    def _learn(self, recipe: Recipe, path: Path, row: Row) -> None:
        texts = [row.values.get(column) for column in text_columns(recipe)]
        characters = sum(len(text) for text in texts if isinstance(text, str))
        self.rows += 1
        self.characters += characters
        self.empty += not characters
        label = recipe.data.label
        if recipe.task == "regression" or not isinstance(label, str):
            return
        value = row.values.get(label)
        if recipe.task == "multilabel":
            found: Iterable[str | None] = labels.class_names(value, recipe.data.label_delimiter) or ()
        else:
            found = (labels.class_name(value),)
        for name in found:
            if name is not None and name not in self.names:
                self.names[name] = where(path, row.position)


def _read(path: Path, options: ReadOptions) -> Peek:
    small = path.is_file() and path.stat().st_size <= SMALL_BYTES
    return peek(path, options, rows=SMALL_BYTES if small else FIRST_ROWS)


def _contradictions(data: Data) -> Iterator[Problem]:
    if data.split is None:
        return
    if data.source is not None and data.validation_split is not None:
        yield Problem(
            "cuts the training split, but the hub's validation split is used",
            field="data.split",
            value=list(data.split),
            remedy="data.validation_split=null, or leave data.split out",
        )
    test_given = data.test is not None or (data.source is not None and data.test_split is not None)
    if len(data.split) == 3 and data.split[2] > 0 and test_given:
        yield Problem(
            "leaves a part for testing, but test data are given too",
            field="data.split",
            value=list(data.split),
            remedy="give two fractions, or leave the test data out",
        )


def missing_columns(recipe: Recipe, path: Path, seen: Peek, split: str) -> Iterator[Problem]:
    """A problem for each column of text or label that a file doesn't have."""
    wanted = [("data.text", column) for column in text_columns(recipe)]
    wanted += [("data.label", column) for column in label_columns(recipe)]
    for key, column in wanted:
        if column not in seen.columns:
            remedy = choices(column, seen.columns) + _header_hint(recipe.data, path, seen)
            if split == "test" and key == "data.label":
                remedy += "; data.test needs labels, launch predict doesn't"
            yield Problem("no such column in the file", where(path, None), key, column, remedy)


def _header_hint(data: Data, path: Path, seen: Peek) -> str:
    form = resolve_format(path, read_options(data))
    if form in ("json", "jsonl", "parquet", "txt"):
        return ""
    hints = []
    if form == "csv" and "\t" in "".join(seen.columns):
        hints.append("data.format=tsv (the first line holds tabs)")
    if data.header:
        hints.append("data.header=false data.columns=[...] if the first line is not a header")
    return "".join(f"; or set {hint}" for hint in hints)


def _bad_cells(recipe: Recipe, path: Path, rows: Sequence[Row]) -> Iterator[Problem]:
    found = 0
    for row in rows:
        for key, column, wrong in _cell_mistakes(recipe, row):
            found += 1
            if found <= EXAMPLES_SHOWN:
                yield Problem(wrong, where(path, row.position), key, column, _cell_remedy(recipe, key))
    if found > EXAMPLES_SHOWN:
        yield Problem(f"{found - EXAMPLES_SHOWN} more cells like these", str(path))


def _cell_mistakes(recipe: Recipe, row: Row) -> Iterator[tuple[str, str, str]]:
    for column in text_columns(recipe):
        if isinstance(row.values.get(column), (list, dict)):
            yield "data.text", column, "the cell is not a text but a list or object"
    for column, wrong in label_mistakes(recipe, row):
        yield "data.label", column, wrong


def _cell_remedy(recipe: Recipe, key: str) -> str:
    if key == "data.text":
        return "name a column of texts"
    return f"mend or remove the row, or name another column: this one doesn't fit task={recipe.task}"


def _label_sets(recipe: Recipe, train: _Split, others: Sequence[_Split]) -> Iterator[Problem]:
    if not train.names or not train.complete or train.failed:
        return
    known = labels.in_order(train.names)
    if recipe.task == "classification" and len(known) == 1:
        yield Problem(
            f"every row has the label {known[0]!r}: there is nothing to learn",
            field="data.label",
            value=recipe.data.label,
            remedy="give data with at least two classes, or name another column",
        )
    for split in others:
        for name, place in split.names.items():
            if name not in train.names:
                message, remedy = unknown_label(name, known)
                yield Problem(message, place, "data.label", recipe.data.label, remedy)


def _label_count(recipe: Recipe, train: _Split) -> int | None:
    if recipe.task == "regression":
        return 1
    if isinstance(recipe.data.label, tuple):
        return len(recipe.data.label)
    return len(train.names) if train.complete and train.names else None


def _sizes(
    recipe: Recipe, train: _Split, validation: _Split, test: _Split, problems: list[Problem]
) -> tuple[int | None, int | None, int | None]:
    counts = {split.name: split.count if split.given else None for split in (train, validation, test)}
    fractions = cut_fractions(recipe.data)
    if fractions is not None and train.count is not None and not train.failed:
        parts = split_sizes(train.count, fractions)
        for name, size, fraction in zip(counts, parts, fractions, strict=True):
            if fraction > 0 and size == 0:
                problems.append(_empty_part(name, train.count, fractions))
        counts |= dict(zip(("train", "validation") if test.given else counts, parts, strict=False))
    if recipe.data.limit is not None and counts["train"] is not None:
        counts["train"] = min(counts["train"], recipe.data.limit)
    return counts["train"], counts["validation"], counts["test"] or None


def _empty_part(name: str, count: int, fractions: Sequence[float]) -> Problem:
    return Problem(
        f"leaves no example for {name}: data.train has {count} rows",
        field="data.split",
        value=[fraction for fraction in fractions if fraction],
        remedy="give more data, data.validation=FILE, or other fractions",
    )


def _notes(*splits: _Split) -> Iterator[str]:
    for split in splits:
        if split.empty:
            yield f"data.{split.name}: {split.empty} of {split.rows} rows read have no text"


def _with_field(problems: Iterable[Problem], key: str) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(problem.message, problem.where, key, problem.value, problem.remedy)


def _done(facts: DataFacts, problems: Sequence[Problem]) -> DataFacts:
    if problems:
        raise UserError(problems)
    return facts
