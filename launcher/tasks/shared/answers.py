"""Answers that stand in a text, as SQuAD writes them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A stretch of the context that answers the question."""

    text: str
    start: int
    """Character of the context that it begins with."""


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
