"""What a row is to each task: its words, choices or answers, and whether they fit together.

The same rules before a launch and on the nodes; `labels` has those of a single cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from launcher.reading import labels
from launcher.reading.columns import choice_columns, text_columns
from launcher.reading.labels import shown
from launcher.reading.rows import Row, Value
from launcher.recipe.recipe import Recipe

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN = re.compile(f"[{IDEOGRAPHS}]")
CHARACTERS = re.compile(rf"[^\W{IDEOGRAPHS}]+|\S")
"""A character of a text without blanks; letters and digits of other scripts stay together."""
LABELS_OF_TEXT = ("token-classification", "question-answering", "multiple-choice")
"""Tasks whose labels speak of the text, so that nothing can be said of them where it is wrong."""


class Answer(NamedTuple):
    """A stretch of the context that answers the question."""

    text: str
    start: int
    """Character of the context that it begins with."""


class Mistake(NamedTuple):
    """What is wrong with one cell of a row."""

    key: str
    """`data.text`, `data.choices` or `data.label`: the key that names the column."""
    column: str
    message: str
    offset: int = 0
    """Words before the one that is wrong; in CoNLL columns that many lines below the row's first."""


def mistakes(recipe: Recipe, row: Row) -> Iterator[Mistake]:
    """Everything in a row that doesn't fit the task."""
    wrong = list(text_mistakes(recipe, row))
    yield from wrong
    if not wrong or recipe.task not in LABELS_OF_TEXT:
        yield from label_mistakes(recipe, row)


def text_mistakes(recipe: Recipe, row: Row) -> Iterator[Mistake]:
    """What is wrong with the cells of text; an empty one is no mistake, but where words or choices are needed."""
    lists = choice_columns(recipe) if isinstance(recipe.data.choices, str) else ()
    for column in text_columns(recipe):
        value = row.values.get(column)
        if recipe.task == "token-classification":
            if words(value) is None:
                yield Mistake("data.text", column, f"{shown(value)} is not a list of words")
        elif column in lists:
            if len(choice_list(value)) < 2:
                yield Mistake("data.choices", column, f"{shown(value)} is not a list of two or more choices")
        elif isinstance(value, list | dict):
            yield Mistake("data.text", column, "the cell is not a text but a list or object")


def label_mistakes(recipe: Recipe, row: Row) -> Iterator[Mistake]:
    """What is wrong with the label cells of a row whose text is as it should be."""
    label = recipe.data.label
    if not isinstance(label, str):
        for column in label:
            wrong = labels.flag_mistake(row.values.get(column))
            if wrong:
                yield Mistake("data.label", column, wrong)
        return
    value = row.values.get(label)
    match recipe.task:
        case "masked-lm":
            return
        case "token-classification":
            found = _tag_mistake(words_of(recipe, row), value)
            if found is not None:
                yield Mistake("data.label", label, *found)
            return
        case "question-answering":
            text = _answers_mistake(context_of(recipe, row), value)
        case "multiple-choice":
            text = _choice_mistake(value, choices_of(recipe, row))
        case "ranking":
            text = _relevance_mistake(value, recipe.ranking.max_relevance)
        case "ordinal":
            text = labels.mistake("classification", value, recipe.data.label_delimiter)
        case task:
            text = labels.mistake(task, value, recipe.data.label_delimiter)
    if text:
        yield Mistake("data.label", label, text)


def group_mistakes(recipe: Recipe, row: Row) -> Iterator[Mistake]:
    """What is wrong with the cell of a training row that data.group names."""
    column = recipe.data.group
    if column is not None and isinstance(value := row.values.get(column), list | dict):
        yield Mistake("data.group", column, f"{shown(value)} is a list or object, and no name of a group")


def training_mistakes(recipe: Recipe, row: Row) -> Iterator[Mistake]:
    """What is wrong with the cells of a training row."""
    yield from mistakes(recipe, row)
    yield from group_mistakes(recipe, row)


def _relevance_mistake(value: Value, most: float) -> str | None:
    relevance = labels.score(value)
    if relevance is None:
        return f"{shown(value)} is not a finite number"
    return (
        None if 0 <= relevance <= most else f"{relevance:g} is not from 0 to {most:g}, ranking.max_relevance"
    )


# Words and their tags


def words(value: Value) -> list[str] | None:
    """A list of words, or those of a text, which blanks separate, in Chinese its characters; None for anything else."""
    if isinstance(value, str):
        return CHARACTERS.findall(value) if joint(value) else value.split()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        return None
    return value


def joint(value: Value) -> bool:
    """Whether a text is written without blanks between its words: there are none, but Chinese characters or kana."""
    return isinstance(value, str) and len(value.split()) == 1 and HAN.search(value) is not None


def words_of(recipe: Recipe, row: Row) -> list[str]:
    """The words of a row that token classification tags."""
    (column,) = text_columns(recipe)
    return words(row.values.get(column)) or []


def tags(value: Value) -> tuple[str, ...] | None:
    """The tags in one cell, None where it holds no such thing or one of them is missing."""
    if isinstance(value, str):
        return tuple(value.split())
    if not isinstance(value, list):
        return None
    names = [labels.class_name(tag) for tag in value]
    return None if None in names else tuple(name for name in names if name is not None)


def _tag_mistake(of: Sequence[str], value: Value) -> tuple[str, int] | None:
    found = tags(value)
    if found is None:
        if isinstance(value, list):
            first = [labels.class_name(tag) for tag in value].index(None)
            return f"tag {first + 1} of {len(value)} is empty", first
        return f"{shown(value)} is not a list of tags", 0
    if len(found) != len(of):
        return f"{len(found)} tags for {len(of)} words", 0
    return None


# Answers in a context


def answers(value: Any) -> tuple[Answer, ...] | None:
    """The answers in one cell, none where the question can't be answered; None where it holds no such thing.

    Both forms in use are read: [{"text": ..., "answer_start": ...}] and {"text": [...], "answer_start": [...]}.
    """
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return None
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        return None
    found = [_answer(entry) for entry in value]
    return None if None in found else tuple(answer for answer in found if answer is not None)


def _answer(entry: Any) -> Answer | None:
    if not isinstance(entry, dict):
        return None
    text, start = entry.get("text"), entry.get("answer_start")
    if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool) or start < 0:
        return None
    return Answer(text, start)


def context_of(recipe: Recipe, row: Row) -> str:
    """The text that answers stand in: the second of data.text."""
    return str(row.values.get(text_columns(recipe)[-1]) or "")


def in_place(context: str, answer: Answer) -> bool:
    """Whether the answer stands where it says."""
    return context.startswith(answer.text, answer.start)


def placed(context: str, answer: Answer) -> Answer | None:
    """The answer where it really stands: as given, else at its occurrence nearest to that; None if there is none."""
    if in_place(context, answer):
        return answer
    before = context.rfind(answer.text, 0, answer.start + len(answer.text))
    after = context.find(answer.text, answer.start)
    starts = [start for start in (before, after) if start >= 0]
    if not starts or not answer.text:
        return None
    return Answer(answer.text, min(starts, key=lambda start: abs(start - answer.start)))


def _answers_mistake(context: str, value: Value) -> str | None:
    found = answers(value)
    if found is None:
        return f'{shown(value)} is not a list of {{"text": ..., "answer_start": ...}}'
    for answer in found:
        if not answer.text.strip():
            return "an answer is empty: a question without an answer has an empty list"
        if placed(context, answer) is None:
            return f"the answer {shown(answer.text)} stands nowhere in the context"
    return None


# Choices


def choice_list(value: Value) -> list[str]:
    """The choices in one cell, none where it holds no list of texts or numbers."""
    if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
        return []
    return [str(item) for item in value]


def choices_of(recipe: Recipe, row: Row) -> list[str]:
    """The texts to choose from, of the list or the columns that data.choices names."""
    columns = choice_columns(recipe)
    if isinstance(recipe.data.choices, str):
        return choice_list(row.values.get(columns[0]))
    values = [row.values.get(column) for column in columns]
    return ["" if value is None else str(value) for value in values]


def choice_indices(value: Value, of: Sequence[str]) -> set[int]:
    """What a label may mean among these choices: a number from 0, a letter from A, or the text of one of them."""
    if isinstance(value, int):
        return {value} & set(range(len(of)))
    name = labels.class_name(value)
    if name is None:
        return set()
    found = {index for index, text in enumerate(of) if text.strip() == name}
    letter = ascii_uppercase.find(name.upper()) if len(name) == 1 else -1
    if 0 <= letter < len(of):
        found.add(letter)
    if name.isdecimal() and int(name) < len(of):
        found.add(int(name))
    return found


def _choice_mistake(value: Value, of: Sequence[str]) -> str | None:
    found = choice_indices(value, of)
    if len(found) == 1:
        return None
    if found:
        return f"{shown(value)} may mean several choices: write their letter (A, B, ...)"
    last = len(of) - 1
    return f"{shown(value)} is no number from 0 to {last}, no letter up to {ascii_uppercase[last % 26]} and no choice's text"
