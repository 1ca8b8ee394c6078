"""What is learnt from the files of one split before a launch, and which of their cells don't fit the task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher import tasks
from launcher.errors import Problem, UserError
from launcher.reading import missing_columns
from launcher.reading.data_section import files, options_for, read_options
from launcher.reading.files import Peek, declared_classes, left_out, peek, words_are_lines
from launcher.reading.messages import into_new, where
from launcher.reading.opening import size_of
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.findings import Seen
from launcher.tasks.shared.labels import as_read
from launcher.tasks.shared.rows import HEADER_AGAIN, Mistake, Row, Value, is_header
from launcher.tasks.shared.tagging import NONE, OUTSIDE, scheme_of
from launcher.tasks.shared.words import length
from launcher.tasks.shared.words import words as words_of

SMALL_BYTES = 1 << 20
"""Files up to this size are read whole, in about a tenth of a second."""
FIRST_ROWS = 1000
"""Rows read of larger files."""
LONG_SENTENCE = 100
"""Words from which the only sentence of a file is taken for several without empty lines between them, or as many rows of
one word for sentences that were taken apart."""
EXAMPLES_SHOWN = 3
"""Bad cells reported for each file, and unknown labels for each split; the others are counted."""


QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"', re.DOTALL)


@dataclass
class Lesson:
    """What can be learnt from rows, as far as it has to be known whether it is anything."""

    teaches: bool = False
    """Whether a row was seen that something can be learnt from."""
    labels: list[Label] = field(default_factory=list)
    """What rows say that fit the task, two different things at most."""

    def add(self, spec: TaskSpec, row: Row) -> None:
        """Look at one more row."""
        if (self.teaches and len(self.labels) > 1) or next(spec.mistakes(row), None) is not None:
            return
        label = spec.label(row) if spec.label_columns else None
        self.teaches = self.teaches or not spec.label_columns or spec.teaches(label)
        if len(self.labels) < 2 and label not in self.labels:
            self.labels.append(label)

    def enough(self, spec: TaskSpec) -> bool:
        """Whether there is something to learn."""
        return self.teaches and (len(self.labels) > 1 or not spec.learns_differences)


@dataclass
class Split:
    """What was learnt from reading the files of one split."""

    name: str
    given: bool
    count: int | None = 0
    complete: bool = True
    columns: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    """Class -> how often it was seen."""
    places: dict[str, str] = field(default_factory=dict)
    """Class -> where it was seen first."""
    kept: list[tuple[str, Row]] = field(default_factory=list)
    """Rows read, where data.clean may leave some of them out."""
    rows: int = 0
    characters: float = 0
    empty: int = 0
    quoted: int = 0
    """Texts in quotes with doubled ones within, as csv writes them."""
    begun_by_quotes: int = 0
    numbers: int = 0
    """Rows whose texts are nothing but numbers, as those of a column of ids are."""
    declared: tuple[str, ...] | None = None
    """The classes that the training files declare, as cells with them are read."""
    doubts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Kind of finding that is worth a note -> how often, and where first."""
    lesson: Lesson = field(default_factory=Lesson)
    unlabelled: int = 0
    """Rows left out since they have none of the classes that their files declare."""
    failed: bool = False

    @property
    def names(self) -> dict[str, Seen]:
        """Class -> how often, and where first."""
        return {name: Seen(count, self.places[name]) for name, count in self.counts.items()}

    @classmethod
    def read(cls, name: str, recipe: Recipe, problems: list[Problem]) -> Split:
        paths = files(getattr(recipe.data, name))
        split = cls(name, given=bool(paths))
        for path in paths:
            try:
                split._add(path, read_options(recipe.data), recipe, problems)
            except UserError as error:
                split.failed = True
                problems.extend(with_field(error.problems, f"data.{name}"))
        if split.kept:
            from launcher.reading.cleaning import kept

            split.count = sum(1 for _ in kept(recipe, split.kept)) if split.complete else None
        if name == "train" and paths and not split.failed:
            split.declared = _declared(paths, recipe)
        return split

    @classmethod
    def of_file(cls, name: str, path: Path, recipe: Recipe, problems: list[Problem]) -> Split:
        """A file of eval.extra."""
        split = cls(name, given=True)
        try:
            split._add(path, options_for(path, recipe.data), recipe, problems)
        except UserError as error:
            problems.extend(with_field(error.problems, "eval.extra"))
        return split

    def _add(self, path: Path, options: ReadOptions, recipe: Recipe, problems: list[Problem]) -> None:
        seen = self._labelled(path, _read(path, options), options, recipe.data.label)
        self.columns = self.columns or seen.columns
        self.complete = self.complete and seen.complete
        self.count = None if self.count is None or seen.count is None else self.count + seen.count
        missing = lacks_columns(recipe, path, seen, self.name, options)
        if missing is not None:
            problems.append(missing)
            self.failed = True
            return
        spec = tasks.of(recipe)
        lines = words_are_lines(path, options)
        if spec.words and self.name == "train" and seen.complete:
            wrong = list(_not_sentences(path, seen.rows, spec, lines))
            problems.extend(wrong)
            self.failed = self.failed or bool(wrong)
        mistakes = spec.training_mistakes if self.name == "train" else spec.mistakes
        problems.extend(bad_cells(recipe, path, seen.rows, options, mistakes))
        if recipe.data.clean.drop_empty or recipe.data.clean.drop_duplicates:
            self.kept.extend((str(path), row) for row in seen.rows)
        told = {kind for kind, said in spec.kinds({}).items() if said.before_launch}
        for row in seen.rows:
            self._learn(spec, path, row, told)
            self._learn_classes(spec, path, row, lines)

    def _labelled(self, path: Path, seen: Peek, options: ReadOptions, label: object) -> Peek:
        """What was read without the rows that are left out."""
        without = left_out(path, options, label)
        if not without:
            return seen
        self.unlabelled += without
        rows = tuple(row for row in seen.rows if row.values.get(str(label)) is not None)
        return replace(seen, rows=rows, count=None if seen.count is None else seen.count - without)

    def _learn(self, spec: TaskSpec, path: Path, row: Row, told: Set[str]) -> None:
        texts = [row.values.get(column) for column in spec.text_columns]
        self.rows += 1
        self.characters += sum(map(_characters, texts))
        self.empty += all(
            text in (None, []) or (isinstance(text, str) and not text.strip()) for text in texts
        )
        self.numbers += all(map(_are_numbers, texts))
        begun = [text for text in texts if isinstance(text, str) and text[:1] == '"']
        self.begun_by_quotes += len(begun)
        self.quoted += sum(QUOTED.fullmatch(text) is not None for text in begun)
        self.lesson.add(spec, row)
        for finding in spec.findings(row, ()) if told else ():
            if finding.kind in told:
                count, first = self.doubts.get(finding.kind, (0, where(path, row.position)))
                self.doubts[finding.kind] = count + 1, first

    def _learn_classes(self, spec: TaskSpec, path: Path, row: Row, lines: bool) -> None:
        """`lines` says whether each word of a row has a line of its own."""
        if not isinstance(spec.recipe.data.label, str):
            return
        for number, name in enumerate(spec.class_names(row)):
            self.counts[name] += 1
            if self.counts[name] == 1:
                self.places[name] = where(path, row.position + (number if lines else 0))


def _declared(paths: Sequence[Path], recipe: Recipe) -> tuple[str, ...] | None:
    data = recipe.data
    if not tasks.of(recipe).classes or not isinstance(data.label, str):
        return None
    names = declared_classes(paths, read_options(data), data.label)
    return None if names is None else as_read(names)


def _not_sentences(path: Path, rows: Sequence[Row], spec: TaskSpec, lines: bool) -> Iterator[Problem]:
    """What is wrong where nothing but the end of a file ends a sentence in it, or each word is a row by itself."""
    words = max((len(cell) for cell in rows[0].values.values() if isinstance(cell, list)), default=0)
    single = all(
        len(spec.class_names(row)) == 1 == len(words_of(row.values.get(spec.text_columns[0])) or ())
        for row in rows
    )
    if len(rows) >= LONG_SENTENCE and single:
        text = f"has {len(rows):,} rows of one word each: its sentences aren't told apart"
        remedy = "write lists of the words and tags of a sentence, or data.format=conll with an empty line behind each"
        yield Problem(text, str(path), "data.train", None, remedy)
    used = {
        word for row in rows[:FIRST_ROWS] for word in words_of(row.values.get(spec.text_columns[0])) or ()
    }
    if OUTSIDE in used and scheme_of(used) != NONE:
        text = f"holds tags ({', '.join(sorted(used)[:EXAMPLES_SHOWN])}), not words"
        remedy = "data.columns=[label,text] where the tags stand before the words, or name another column"
        yield Problem(text, str(path), "data.text", spec.text_columns[0], remedy)
    if lines and len(rows) == 1 and words >= LONG_SENTENCE:
        text = f"is one sentence of {words:,} words: no line in it is empty"
        remedy = 'an empty line ends a sentence; where full stops do: awk \'{print} $1=="." {print ""}\' %s'
        yield Problem(text, str(path), "data.train", None, remedy % into_new(path))


def _are_numbers(value: Value) -> bool:
    """Whether a text, or each of several words, is a whole number."""
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(str(text).isdecimal() for text in texts)


def _characters(value: Value) -> float:
    if isinstance(value, list):
        return sum(length(word) + 1 for word in value if isinstance(word, str))
    return 0 if value is None else length(str(value))


def _read(path: Path, options: ReadOptions) -> Peek:
    small = size_of(path) <= SMALL_BYTES
    return peek(path, options, rows=SMALL_BYTES if small else FIRST_ROWS)


def lacks_columns(
    recipe: Recipe, path: Path, seen: Peek, split: str, options: ReadOptions | None = None
) -> Problem | None:
    """What is wrong with a file that hasn't all columns of text and label; `options` are those it was read with."""
    options, spec = options or read_options(recipe.data), tasks.of(recipe)
    wanted = [("data.text", name) for name in spec.given_texts]
    wanted += [("data.choices", name) for name in spec.choice_columns]
    wanted += [("data.label", column) for column in spec.label_columns]
    wanted += [("data.negatives", column) for column in spec.negative_columns if split == "train"]
    if recipe.data.group is not None and split == "train":
        wanted.append(("data.group", recipe.data.group))
    problem = missing_columns.missing(path, seen, options, wanted)
    if problem is not None and split == "test" and problem.field == "data.label":
        problem = replace(problem, remedy=f"{problem.remedy}; data.test needs labels, launch predict doesn't")
    return problem


def bad_cells(
    recipe: Recipe,
    path: Path,
    rows: Iterable[Row],
    options: ReadOptions,
    mistakes: Callable[[Row], Iterable[Mistake]],
) -> Iterator[Problem]:
    """Problems with the first cells of a file that don't fit the task, and how many more there are."""
    lines, spec = words_are_lines(path, options), tasks.of(recipe)
    found, remedy = 0, ""
    for row in rows:
        if options.header and is_header(row):
            once = f"awk 'NR==1 {{h=$0}} NR==1 || $0!=h' {into_new(path)} leaves it out"
            yield Problem(HEADER_AGAIN, where(path, row.position), None, None, once)
            continue
        for key, column, wrong, offset in mistakes(row):
            found += 1
            if found <= EXAMPLES_SHOWN:
                place, remedy = where(path, row.position + (offset if lines else 0)), spec.cell_remedy(key)
                yield Problem(wrong, place, key, column, remedy)
    if found > EXAMPLES_SHOWN:
        yield Problem(f"{found - EXAMPLES_SHOWN:,} more cells like these", str(path), remedy=remedy)


def with_field(problems: Iterable[Problem], key: str) -> Iterator[Problem]:
    """The same problems, with the key of the recipe that they are about."""
    for problem in problems:
        yield Problem(problem.message, problem.where, key, problem.value, problem.remedy)
