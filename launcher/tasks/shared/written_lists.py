"""Lists that stand as text in a cell of csv or tsv, as Python, NumPy and JSON write them.

They are `['a', 'b']`, `('a', 'b')`, `['a' 'b']`, `array(['a', 'b'], dtype=object)` and `["a", "b"]`.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from launcher.tasks.shared.rows import Value

ESCAPE = r"\\(?:[\\'\"abfnrtv0]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
ITEM = re.compile(rf"'(?:[^'\\]|{ESCAPE})*'|\"(?:[^\"\\]|{ESCAPE})*\"|-?\d+(?:\.\d+)?(?![\w.])")
BETWEEN = re.compile(r"\s*,\s*|\s+")
ARRAY = re.compile(r"array\((\[.*\])(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
TUPLE = re.compile(r"\((['\"].*['\"]),?\)", re.DOTALL)
ARRAYS = re.compile(
    r"\{'text': array\((\[.*\]),\s+dtype=object\), 'answer_start': array\((\[[^\]]*\])(?:, dtype=int\d+)?\)\}",
    re.DOTALL,
)
"""Answers as pandas writes those of `datasets` to csv."""


def unwritten(value: Value) -> Value:
    """The list that a text writes; None where it begins as a list of texts and isn't one; every other value as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if not text.startswith(("[", "(", "array(")):
        return value
    if (array := ARRAY.fullmatch(text)) is not None:
        text = array[1]
    if (entries := TUPLE.fullmatch(text)) is not None:
        return _items(entries[1].strip()) or value
    if not text.startswith("["):
        return value
    found = _json_list(text)
    if found is None and text.endswith("]"):
        found = _items(text[1:-1].strip())
    if found is None:
        return None if text[1:].lstrip()[:1] in ("'", '"') else value
    return found


def looks_written(value: Value) -> bool:
    """Whether a text is a list or set in brackets, in a form that `unwritten` doesn't read: `{a, b}`, `[a, b]`, `<a><b>`."""
    text = value.strip() if isinstance(value, str) else ""
    ends = (text[:1], text[-1:])
    in_commas = ends in (("[", "]"), ("(", ")")) and "," in text
    in_brackets = in_commas or ends == ("{", "}") or (ends == ("<", ">") and "><" in text)
    return in_brackets and isinstance(unwritten(value), str)


def _json_list(text: str) -> list[str | int | float] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    plain = all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in found)
    return found if plain else None


def _items(text: str) -> list[str | int | float] | None:
    """Quoted texts and numbers with commas or blanks between them; None where there is anything else."""
    items: list[str | int | float] = []
    at = 0
    while at < len(text):
        item = ITEM.match(text, at)
        if item is None:
            return None
        items.append(ast.literal_eval(item[0]))
        gap = BETWEEN.match(text, item.end())
        if gap is None and item.end() < len(text):
            return None
        at = gap.end() if gap else item.end()
    return items


def unwritten_object(value: Any) -> Any:
    """The object or list of objects that a text writes, as Python or JSON; every other value as it is."""
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return value
    text = ARRAYS.sub(r"{'text': \1, 'answer_start': \2}", value.strip())
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value
