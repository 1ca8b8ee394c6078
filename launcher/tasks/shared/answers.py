"""Answers that stand in a text, as SQuAD writes them."""

from __future__ import annotations

from typing import Any, NamedTuple

from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.written_lists import unwritten_object

NOWHERE = -1
"""Where an answer begins that its context doesn't hold."""


class Answer(NamedTuple):
    """A stretch of the context that answers the question."""

    text: str
    start: int
    """Character of the context that it begins with."""


def answers(value: Any) -> tuple[Answer, ...] | None:
    """The answers in one cell, none where the question can't be answered; None where it holds no such thing.

    The forms in use are read: [{"text": ..., "answer_start": ...}], one such object by itself, and
    {"text": [...], "answer_start": [...]}. An empty text at -1 says that there is no answer.
    """
    entries = _entries(value)
    if isinstance(entries, str):
        return None
    return tuple(Answer(entry["text"], int(entry["answer_start"])) for entry in entries)


def answers_mistake(value: Any) -> str | None:
    """What is wrong with the cell of answers itself, whatever the context; None where it can be read."""
    entries = _entries(value)
    return entries if isinstance(entries, str) else None


def _entries(value: Any) -> list[dict[str, Any]] | str:
    """The answers one by one, or what is wrong with them."""
    value = unwritten_object(value)
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return f'{shown(value)} has not as many places in "answer_start" as texts in "text"'
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        return f'{shown(value)} is not a list of {{"text": ..., "answer_start": ...}}'
    value = [entry for entry in value if not _is_none(entry)]
    wrong = (found for number, entry in enumerate(value, 1) if (found := _entry_mistake(number, entry)))
    return next(wrong, value)


def _is_none(entry: Any) -> bool:
    """Whether an entry says that there is no answer."""
    return isinstance(entry, dict) and entry.get("text") == "" and entry.get("answer_start") == NOWHERE


def _entry_mistake(number: int, entry: Any) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return f'answer {number} has no "text": {shown(entry)}'
    if not entry["text"].strip():
        return "an answer is empty: a question without an answer has an empty list"
    start = entry.get("answer_start")
    is_whole = isinstance(start, int) or (isinstance(start, float) and start.is_integer())
    if not is_whole or isinstance(start, bool):
        return f'answer {number} has no whole number in "answer_start": {shown(entry)}'
    return None


def in_place(context: str, answer: Answer) -> bool:
    """Whether the answer stands where it says."""
    return answer.start >= 0 and context.startswith(answer.text, answer.start)


def placed(context: str, answer: Answer) -> Answer | None:
    """The answer where it really stands: as given, else at its occurrence nearest to that; None if there is none."""
    if in_place(context, answer):
        return answer
    said = max(0, answer.start)
    before = context.rfind(answer.text, 0, said + len(answer.text))
    after = context.find(answer.text, said)
    starts = [start for start in (before, after) if start >= 0]
    if not starts or not answer.text:
        return None
    return Answer(answer.text, min(starts, key=lambda start: abs(start - answer.start)))
