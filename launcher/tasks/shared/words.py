"""Texts as words, and words as tags have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from launcher.tasks.shared.labels import class_name
from launcher.tasks.shared.rows import Value
from launcher.tasks.shared.written_lists import looks_written, unwritten

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Patterns as texts, which `re` compiles once it needs them: for such ranges that takes 5 ms.
HAN = f"[{IDEOGRAPHS}]"
BETWEEN_HAN = f"(?<=[{IDEOGRAPHS}]) (?=[{IDEOGRAPHS}])"
CHARACTERS = rf"[^\W{IDEOGRAPHS}]+|\S"
"""A character of a text without blanks; letters and digits of other scripts stay together."""
CHARACTERS_PER_TOKEN = 4.3
"""Of English text in sub-word tokens; a Chinese character is a token of its own."""


def length(text: str) -> float:
    """Characters of a text, were it English with as many tokens."""
    ideographs = 0 if text.isascii() else sum(map(len, re.findall(f"{HAN}+", text)))
    return len(text) + ideographs * (CHARACTERS_PER_TOKEN - 1)


def words(value: Value) -> list[str] | None:
    """A list of words, or those of a text, which blanks separate, in Chinese its characters; None for anything else.

    A text that writes a list of texts, as csv files have it, is that list.
    """
    listed = unwritten(value)
    if isinstance(value, str) and isinstance(listed, list) and not _are_texts(listed):
        listed = value
    value = listed
    if isinstance(value, str):
        return re.findall(CHARACTERS, value) if joint(value) else value.split()
    return value if isinstance(value, list) and _are_texts(value) else None


def _are_texts(items: Iterable[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def joint(value: Value) -> bool:
    """Whether a text is written without blanks between its words: there are none, but Chinese characters or kana."""
    return isinstance(value, str) and len(value.split()) == 1 and re.search(HAN, value) is not None


def joined(found: Sequence[str], blank: str = " ") -> str:
    """Words as a text: with blanks between them, but not between Chinese characters or kana."""
    return re.sub(BETWEEN_HAN, "", blank.join(found))


def tags(value: Value) -> tuple[str, ...] | None:
    """The tags in one cell, None where it holds no such thing or one of them is missing."""
    value = unwritten(value)
    if isinstance(value, str):
        return None if looks_written(value) else tuple(value.split())
    if not isinstance(value, list):
        return None
    names = [class_name(tag) for tag in value]
    return None if None in names else tuple(name for name in names if name is not None)
