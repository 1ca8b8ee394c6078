"""One of several choices, each read together with the question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from statistics import mode
from string import ascii_uppercase
from typing import Any, NamedTuple

from launcher.errors import Conflict, UserError
from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import Change, Label, TaskSpec, mended
from launcher.tasks.shared.rows import Mistake, Row, Value, reached, shown
from launcher.tasks.shared.sample import Column, Guess, Said, Sample, mostly
from launcher.tasks.shared.written_lists import unwritten

USE = """
inputs = tokenizer([context] * len(choices), choices, return_tensors="pt", padding=True, truncation=True)
with torch.no_grad():
    logits = model(**{key: value[None] for key, value in inputs.items()}).logits[0]
print(choices[int(logits.argmax())], logits.softmax(-1).tolist())
"""
CHOICE = re.compile(
    r"(?:.*[._ -])?(?:choice|option|ending|answer|alternative|opt|sol|solution)[._ -]?(?:\d|[a-z])|[a-e]"
)
"""Names of columns that hold one of the choices each."""

CHOICES = frozenset(
    {"choices", "options", "endings", "answers", "candidates", "alternatives", "solutions"}
    | {"choice", "option", "ending", "candidate"}
)
"""Words in the names of columns of lists of choices; other lists are choices where all rows have as many."""


ENOUGH = 2000
"""Rows that are looked at."""
ROWS_EACH = 10
"""Rows for each choice from which on none of them is never right."""


class MultipleChoice(TaskSpec):
    metric = "accuracy"
    called = ("AutoModelForMultipleChoice",)
    metrics = ("accuracy",)
    fixed_shape = False
    classes = False
    about_text = True
    choices = True
    pipeline_tag = "multiple-choice"
    outputs = ("prediction", "probabilities", "choice")

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        for choices in _choices(sample):
            label = sample.label(
                lambda column, of=choices: column.name not in of.names and _tells(column, of)  # type: ignore[misc]
            )
            texts = [] if label is None else _questions(sample, (*choices.names, label.name))
            if label is None or not texts:
                continue
            named = ", ".join(map(shown, choices.names))
            why = f"{shown(label.name)} says which of the choices in {named} is right."
            keys = {
                "data.text": Said(texts[0] if len(texts) == 1 else texts[:2], "What the choices are for."),
                "data.choices": Said(choices.given, "The texts to choose from."),
                "data.label": Said(label.name, f"{label.told}."),
            }
            if not _tells_one(label, choices):
                counted = [str(number) for number in range(1, len(choices.texts[0]) + 1)]
                keys["data.labels"] = Said(counted, "The labels of the choices: they are counted from 1.")
            return Guess(0.98, why, keys)
        return None

    def conflicts(self) -> Iterator[Conflict]:
        if self.recipe.data.choices is None:
            yield Conflict(
                ("data.choices", "task"),
                f"task={self.recipe.task} needs the columns of the choices",
                "data.choices=[a,b,c,d], or one column that holds a list",
            )

    @cached_property
    def choice_columns(self) -> tuple[str, ...]:
        choices = self.recipe.data.choices
        return (choices,) if isinstance(choices, str) else choices or ()

    @property
    def is_pair(self) -> bool:
        return True

    def choices_of(self, row: Row) -> list[str]:
        """The texts to choose from, of the list or the columns that data.choices names."""
        columns = self.choice_columns
        if isinstance(self.recipe.data.choices, str):
            return choice_list(row.values.get(columns[0]))
        values = [row.values.get(column) for column in columns]
        return ["" if value is None else str(value) for value in values]

    def _marks_of(self, row: Row) -> list[str]:
        """What the row itself calls its choices, such as A to D; nothing where it doesn't."""
        column = self.recipe.data.choices
        if not isinstance(column, str):
            return []
        beside = row.values.get(_marked_by(column))
        return choice_marks(row.values.get(column)) if beside is None else _plain_marks(beside)

    def text_mistakes(self, row: Row) -> Iterator[Mistake]:
        lists = self.choice_columns if isinstance(self.recipe.data.choices, str) else ()
        for mistake in super().text_mistakes(row):
            if mistake.column not in lists:
                yield mistake
        for column in lists:
            value = row.values.get(column)
            if len(choice_list(value)) < 2:
                text = f"{shown(value)} is not a list of two or more choices{reached(value)}"
                yield Mistake("data.choices", column, text)

    def indices(self, row: Row, value: Value) -> set[int]:
        """What a label may mean among the row's choices; where data.labels names each choice, that is what counts."""
        of, named = self.choices_of(row), self.given_classes
        if named is None:
            return choice_indices(value, of, self._marks_of(row))
        return (
            {named.index(name)} & set(range(len(of)))
            if (name := labels.class_name(value)) in named
            else set()
        )

    def label_mistake(self, row: Row, value: Value) -> str | None:
        of = self.choices_of(row)
        found = self.indices(row, value)
        if len(found) == 1:
            return None
        if self.given_classes is not None:
            return f"{shown(value)} is not in data.labels, or there is no such choice: {len(of)} are given"
        if found:
            return f"{shown(value)} may mean several choices: write their letter (A, B, ...)"
        last = len(of) - 1
        letter = ascii_uppercase[last % 26]
        return f"{shown(value)} is no number from 0 to {last}, no letter up to {letter} and no choice's text"

    def cell_remedy(self, key: str) -> str:
        if key == "data.label" and self.given_classes is None:
            return "mend or remove the row; data.labels=[1,2,...] where choices are counted from 1"
        return super().cell_remedy(key)

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        (choice,) = self.indices(row, row.values.get(column))
        return choice

    def sequences(self, row: Row, text_of: Callable[[str], str]) -> Iterator[Any]:
        texts = " ".join(text_of(column) for column in self.given_texts)
        yield from ((texts, choice) for choice in self.choices_of(row))

    def mended(self, row: Row, change: Change) -> Row:
        """A row with its texts changed, its label too, which may be the text of a choice."""
        row = super().mended(row, change)
        columns = [column for column in self.label_columns if column in row.values]
        return Row(
            {**row.values, **{name: mended(row.values[name], change) for name in columns}}, row.position
        )

    def sample_texts(self) -> tuple[str, ...]:
        question = ("the context", "the question") if len(self.given_texts) == 2 else ("a question",)
        count = 2 if isinstance(self.recipe.data.choices, str) else len(self.choice_columns)
        return (*question, *(f"choice {letter}" for letter in ascii_uppercase[:count]))

    def rows_of(self, texts: Sequence[str]) -> list[Row]:
        """One row for each question; where choices are a list, one question with as many as are given."""
        choices = self.recipe.data.choices
        if not isinstance(choices, str):
            return super().rows_of(texts)
        columns = self.given_texts
        width = len(columns)
        if len(texts) < width + 2:
            message = f"{len(texts)} given, {' and '.join(columns)} and two or more choices needed"
            raise UserError(message, field="--text", remedy="give --text once for each of them")
        given: dict[str, Value] = dict(zip(columns, texts[:width], strict=True))
        return [Row({**given, choices: list(texts[width:])}, 1)]

    def snippet(self, model: str) -> str:
        (*given, first, second), *_ = [self.sample_texts()[: len(self.given_texts) + 2]]
        context, *question = given
        start = f"{question[0]} " if question else ""  # each choice is read behind its question
        choices = snippets.literal([start + first, start + second]).replace("'", '"')
        told = f"context, choices = {snippets.literal(context)}, {choices}\n"
        return snippets.loaded("AutoModelForMultipleChoice", model) + told + USE


def choice_list(value: Value) -> list[str]:
    """The choices in one cell, none where it holds no list of texts or numbers, or of objects with a `text` each."""
    value = unwritten(value)
    if not isinstance(value, list):
        return []
    found = [item.get("text") if isinstance(item, dict) else item for item in value]
    return [str(item) for item in found] if all(isinstance(item, str | int | float) for item in found) else []


def choice_marks(value: Value) -> list[str]:
    """What each choice of one cell is called, where all are objects with a `label`."""
    value = unwritten(value)
    objects = value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []
    return _plain_marks([item.get("label") for item in objects])


def _plain_marks(value: Value) -> list[str]:
    given = value if isinstance(value, list) else []
    return [str(mark) for mark in given] if all(isinstance(mark, str | int) for mark in given) else []


def _marked_by(column: str) -> str:
    """The column with the marks of the choices whose texts stand in `column`; "" where there can be none."""
    return f"{column.removesuffix('text')}label" if column.endswith(".text") else ""


def choice_indices(value: Value, of: Sequence[str], marks: Sequence[str] = ()) -> set[int]:
    """What a label may mean among these choices: one of the `marks` that the row itself gives them, or else a number from 0,
    a letter from A, or the text of one of them.
    """
    if len(marks) == len(of) == len({*marks}) and str(value).strip() in marks:
        return {marks.index(str(value).strip())}
    if isinstance(value, int):
        return {value} & set(range(len(of)))
    name = labels.class_name(value)
    if name is None:
        return set()
    found = {index for index, text in enumerate(of) if text.strip() == str(value).strip()}
    found = found or {index for index, text in enumerate(of) if text.strip() == name}
    letter = ascii_uppercase.find(name.upper()) if len(name) == 1 else -1
    if 0 <= letter < len(of):
        found.add(letter)
    if name.isdecimal() and int(name) < len(of):
        found.add(int(name))
    return found


class _Choices(NamedTuple):
    """Columns that may hold choices, or one with lists of them."""

    given: str | list[str]
    texts: list[list[str]]
    """Of each row."""
    marks: list[list[str]]
    """What each row itself calls them; nothing where it doesn't."""

    @classmethod
    def of(cls, columns: Sequence[Column]) -> _Choices:
        """A choice in each column."""
        rows = [[*map(str, row)] for row in zip(*(column.values for column in columns), strict=True)]
        return cls([column.name for column in columns], rows, [[]] * len(rows))

    @property
    def names(self) -> list[str]:
        return [self.given] if isinstance(self.given, str) else self.given

    def meant(self, column: Column) -> Iterator[set[int]]:
        """What each cell of a column may mean among the choices of its row."""
        rows = zip(column.values, self.texts, self.marks, strict=True)
        yield from (choice_indices(value, of, marks) for value, of, marks in islice(rows, ENOUGH))


def _choices(sample: Sample) -> Iterator[_Choices]:
    """Whatever may hold choices."""
    for column in sample.columns:
        if column.lists and mostly(len(choice_list(found)) > 1 for found in column.lists):
            lists = [choice_list(value) for value in column.values]
            if column.words_of_name & CHOICES or (len(set(map(len, lists))) == 1 and len(lists[0]) > 2):
                beside = sample.named(_marked_by(column.name))
                marks = (
                    map(choice_marks, column.values) if beside is None else map(_plain_marks, beside.values)
                )
                yield _Choices(column.name, lists, list(marks))
    named = [
        column for column in sample.columns if CHOICE.fullmatch(column.name.lower()) and not column.numbers
    ]
    if len(named) > 1:
        yield _Choices.of(named)
    yield from _lettered(sample)


def _lettered(sample: Sample) -> Iterator[_Choices]:
    """The columns between a question and the letter of the right one, where none has a name, as MMLU has them."""
    named, last = sample.columns[1:-1], sample.columns[-1:]
    if sample.is_nameless and len(named) > 1 and set(last[0].names) == {*ascii_uppercase[: len(named)]}:
        yield _Choices.of(named)


def _questions(sample: Sample, others: Sequence[str]) -> list[str]:
    """The columns that the choices are for, without those whose texts stand in another of them."""
    found = [
        column
        for column in sample.columns
        if column.name not in others
        and (column in sample.text_columns or (column.characters and column.words_of_name == {"question"}))
    ]
    return [
        column.name
        for column in found
        if not any(other is not column and _stands_in(column, other) for other in found)
    ]


def _stands_in(column: Column, other: Column) -> bool:
    cells = islice(zip(column.values, other.values, strict=True), ENOUGH)
    return mostly(str(part) in str(whole) and part != whole for part, whole in cells)


def _tells(column: Column, choices: _Choices) -> bool:
    """Whether nearly every cell means one of its row's choices, and every choice is meant by some, where rows are many."""
    if _tells_one(column, choices):
        meant = set[int]().union(*choices.meant(column))
        usual = mode(map(len, choices.texts))
        return len(choices.texts) < ROWS_EACH * usual or len(meant) >= max(2, usual)
    count = len(choices.texts[0])
    every = set(range(1, count + 1))
    return all(len(texts) == count for texts in choices.texts) and set(column.numbers) == every


def _tells_one(column: Column, choices: _Choices) -> bool:
    """Whether nearly every cell means one of its row's choices."""
    return mostly(len(found) == 1 for found in choices.meant(column))


SPEC = MultipleChoice
