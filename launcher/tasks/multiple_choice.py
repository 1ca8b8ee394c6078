"""One of several choices, each read together with the question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from statistics import mode
from string import ascii_uppercase
from typing import Any

from launcher.errors import Conflict, Problem, UserError
from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.base import Change, Label, TaskSpec, mended
from launcher.tasks.shared.rows import Mistake, Row, Value, shown
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
        for given, choices in _choices(sample):
            names = [given] if isinstance(given, str) else given
            label = sample.label(
                lambda column, of=choices, but=names: column.name not in but and _tells(column, of)  # type: ignore[misc]
            )
            texts = [] if label is None else _questions(sample, (*names, label.name))
            if label is None or not texts:
                continue
            why = f"{shown(label.name)} says which of the choices in {', '.join(map(shown, names))} is right."
            keys = {
                "data.text": Said(texts[0] if len(texts) == 1 else texts[:2], "What the choices are for."),
                "data.choices": Said(given, "The texts to choose from."),
                "data.label": Said(label.name, f"{label.told}."),
            }
            if not _tells_one(label, choices):
                counted = [str(number) for number in range(1, len(choices[0]) + 1)]
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

    def text_mistakes(self, row: Row) -> Iterator[Mistake]:
        lists = self.choice_columns if isinstance(self.recipe.data.choices, str) else ()
        for mistake in super().text_mistakes(row):
            if mistake.column not in lists:
                yield mistake
        for column in lists:
            value = row.values.get(column)
            if len(choice_list(value)) < 2:
                yield Mistake("data.choices", column, f"{shown(value)} is not a list of two or more choices")

    def indices(self, row: Row, value: Value) -> set[int]:
        """What a label may mean among the row's choices; where data.labels names each choice, that is what counts."""
        of, named = self.choices_of(row), self.given_classes
        if named is None:
            return choice_indices(value, of)
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
            raise UserError(Problem(message, field="--text", remedy="give --text once for each of them"))
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


def choice_indices(value: Value, of: Sequence[str]) -> set[int]:
    """What a label may mean among these choices: a number from 0, a letter from A, or the text of one of them."""
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


def _choices(sample: Sample) -> Iterator[tuple[str | list[str], list[list[str]]]]:
    """Columns that may hold choices, or one with lists of them, and the choices of each row."""
    for column in sample.columns:
        if column.lists and mostly(len(choice_list(found)) > 1 for found in column.lists):
            lists = [choice_list(value) for value in column.values]
            if column.words_of_name & CHOICES or (len(set(map(len, lists))) == 1 and len(lists[0]) > 2):
                yield column.name, lists
    named = [
        column for column in sample.columns if CHOICE.fullmatch(column.name.lower()) and not column.numbers
    ]
    if len(named) > 1:
        rows = zip(*(column.values for column in named), strict=True)
        yield [column.name for column in named], [[str(cell) for cell in row] for row in rows]


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


def _tells(column: Column, of: Sequence[Sequence[str]]) -> bool:
    """Whether nearly every cell means one of its row's choices, and every choice is meant by some, where rows are many."""
    if _tells_one(column, of):
        cells = islice(zip(column.values, of, strict=True), ENOUGH)
        meant = set[int]().union(*(choice_indices(value, choices) for value, choices in cells))
        usual = mode(map(len, of))
        return len(of) < ROWS_EACH * usual or len(meant) >= max(2, usual)
    count = len(of[0])
    return all(len(choices) == count for choices in of) and set(column.numbers) == set(range(1, count + 1))


def _tells_one(column: Column, of: Sequence[Sequence[str]]) -> bool:
    """Whether nearly every cell means one of its row's choices."""
    rows = islice(zip(column.values, of, strict=True), ENOUGH)
    return mostly(len(choice_indices(value, choices)) == 1 for value, choices in rows)


SPEC = MultipleChoice
