"""Mending texts before they are tokenised (data.clean), and seeing what is odd about them.

The same before a launch, while training data are made, and in predictions.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from launcher import tasks
from launcher.recipe.data import Clean
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.labels import class_name
from launcher.tasks.shared.rows import Row, Value

BLOCKS = (
    "address|article|aside|blockquote|body|br|caption|center|dd|div|dl|dt|figure|footer|form|h[1-6]|head|header|hr|html|"
    "iframe|img|input|li|link|main|meta|nav|ol|option|p|pre|section|select|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
INLINE = "a|abbr|b|big|button|cite|code|del|em|font|i|ins|kbd|label|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var"
DROPPED = re.compile(
    r"<(script|style)\b[^<>]*>.*?</\1\s*>|<!--.*?-->|<!DOCTYPE[^<>]*>", re.IGNORECASE | re.DOTALL
)
ATTRIBUTES = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))*\s*/?>"""
BLOCK_TAG = re.compile(rf"</?(?:{BLOCKS}){ATTRIBUTES}", re.IGNORECASE)
INLINE_TAG = re.compile(rf"</?(?:{INLINE}){ATTRIBUTES}", re.IGNORECASE)
"""Tags by name and form, so that `if a<b and c>d` stays as it is."""
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")

CONTROLS = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
)
"""But tab and newline; joiners (U+200C, U+200D) mean something in Persian, Hindi and emoji."""
CONTROL = re.compile(f"[{CONTROLS}]")
INVISIBLE = re.compile(f"[{CONTROLS}\ufffd]")
WIDE = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
"""Letters and digits alone: full-width punctuation is how Chinese is written."""
BLANKS = re.compile(r"\s+")
CP1252 = "\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
UTF8_AS_LATIN = re.compile(f"[\u00c2-\u00f4][\u0080-\u00bf{CP1252}]+")
REPLACEMENT = re.compile("\ufffd|锟斤拷")

Mend = Callable[[str], str]
HTML: tuple[tuple[re.Pattern[str], Mend], ...] = (
    (DROPPED, lambda _: " "),
    (BLOCK_TAG, lambda _: " "),
    (INLINE_TAG, lambda _: ""),
    (ENTITY, html.unescape),
)
"""What is taken for HTML, in this order, and what becomes of it."""
Traced = tuple[str, list[tuple[int, int]]]
"""A text, and where each of its characters comes from: first character there, and the one behind the last."""


def mend(text: str, clean: Clean) -> str:
    """The text as data.clean has it."""
    if clean.html:
        text = without_html(text)
    if clean.control:
        text = INVISIBLE.sub("", text)
    if clean.nfkc:
        text = _nfkc(text)
    if clean.whitespace:
        text = BLANKS.sub(" ", text).strip()
    return text


def without_html(text: str) -> str:
    """The text without tags of HTML, a blank for those that end a line or a block, and with its entities resolved."""
    if "<" not in text and "&" not in text:
        return text
    for pattern, change in HTML:
        text = _replaced(pattern, change, text)
    return text


def _replaced(pattern: re.Pattern[str], change: Mend, text: str) -> str:
    return pattern.sub(lambda found: change(found[0]), text)


def stretch_given(text: str, start: int, end: int, clean: Clean) -> tuple[int, int]:
    """Where the characters `start` to `end` of the mended text stand in `text`, as it was given."""
    mended, origins = traced(text, clean)
    assert start <= end <= len(mended)
    return origins[start][0], origins[max(start, end - 1)][1]


def traced(text: str, clean: Clean) -> Traced:
    """What `mend` makes of the text, and for each of its characters the stretch of the text that it was made of."""
    found = text, [(place, place + 1) for place in range(len(text))]
    if clean.html:
        for pattern, change in HTML:
            found = _trace(found, _stretches(pattern, found[0]), change)
    if clean.control:
        found = _trace(found, _stretches(INVISIBLE, found[0]), lambda _: "")
    if clean.nfkc:
        found = _trace(found, _units(found[0]), _nfkc)
    if clean.whitespace:
        mended, origins = _trace(found, _stretches(BLANKS, found[0]), lambda _: " ")
        first = len(mended) - len(mended.lstrip())
        mended = mended.strip()
        found = mended, origins[first : first + len(mended)]
    return found


def _trace(given: Traced, stretches: Iterable[tuple[int, int]], change: Mend) -> Traced:
    """A text some stretches of which are changed, each by itself."""
    text, before = given
    parts: list[str] = []
    origins: list[tuple[int, int]] = []
    done = 0
    for start, end in stretches:
        made = change(text[start:end])
        parts += text[done:start], made
        origins += before[done:start]
        origins += [(before[start][0], before[end - 1][1])] * len(made)
        done = end
    return "".join((*parts, text[done:])), [*origins, *before[done:]]


def _stretches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in pattern.finditer(text))


def _units(text: str) -> Iterator[tuple[int, int]]:
    """The shortest stretches of a text that NFKC changes each by itself: a letter with its accents, a syllable of Hangul."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or _stands_alone(text[start:place], text[place]):
            yield start, place
            start = place


def _stands_alone(before: str, character: str) -> bool:
    if character.isascii():
        return True
    after = _nfkc(character)
    return not unicodedata.combining(after[0]) and _nfkc(before + character) == _nfkc(before) + after


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def oddities(text: str) -> Iterator[tuple[str, int]]:
    """Names of what is odd about a text, keys of `REMEDIES`, each with the character where it begins."""
    found = {"html": _html_at(text), "control": _at(CONTROL, text)}
    if not text.isascii():
        found |= {
            "replacement": _at(REPLACEMENT, text),
            "wide": _at(WIDE, text),
            "mojibake": _mojibake_at(text),
        }
    yield from ((kind, place) for kind, place in found.items() if place is not None)


def _at(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return None if match is None else match.start()


def _html_at(text: str) -> int | None:
    if "<" not in text and "&" not in text:
        return None
    patterns = (DROPPED, BLOCK_TAG, INLINE_TAG, ENTITY)
    return min((place for pattern in patterns if (place := _at(pattern, text)) is not None), default=None)


REMEDIES = {
    "html": ("with HTML tags or entities", "data.clean.html=true takes them out"),
    "replacement": (
        "with characters lost in a conversion (U+FFFD or 锟斤拷)",
        "convert the source again from its own encoding; data.clean.control=true takes U+FFFD out",
    ),
    "control": ("with control or invisible characters", "data.clean.control=true takes them out"),
    "wide": (
        "with full-width letters or digits",
        "data.clean.nfkc=true makes them ordinary ones",
    ),
    "mojibake": (
        "that look like UTF-8 read as Latin-1 (Ã©, â€™)",
        "save the file again from its source as UTF-8, or repair it with a tool such as ftfy",
    ),
}
"""Oddity -> what is said of the rows that have it, and what to do."""


def _mojibake_at(text: str) -> int | None:
    """Where characters begin that are the bytes of other ones, misread as Latin-1 or Windows-1252."""
    return next((match.start() for match in UTF8_AS_LATIN.finditer(text) if _is_misread(match[0])), None)


def _is_misread(characters: str) -> bool:
    try:
        misread = b"".join(_byte(character) for character in characters)
        return len(misread.decode()) < len(misread)
    except UnicodeError:
        return False


def _byte(character: str) -> bytes:
    return character.encode("latin-1") if character <= "\xff" else character.encode("cp1252")


# Rows


def cleaner(recipe: Recipe) -> Callable[[Row], Row]:
    """What mends the texts of a row, and what its label says of them: the same row where nothing is to be mended."""
    clean = recipe.data.clean
    if not clean.mends:
        return lambda row: row

    def change(text: str) -> str:
        return mend(text, clean)

    spec = tasks.of(recipe)
    return lambda row: spec.mended(row, change)


def in_given(recipe: Recipe, row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """A prediction whose `start` and `end`, where it has them, are those of the row as it was given, not as it was mended."""
    column = tasks.of(recipe).located_in
    if column is None or found["start"] is None or not recipe.data.clean.mends:
        return found
    text = str(row.values.get(column) or "")
    start, end = stretch_given(text, found["start"], found["end"], recipe.data.clean)
    return {**found, "start": start, "end": end}


def kept(recipe: Recipe, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    """The rows, mended, without those that data.clean leaves out."""
    clean, mended, spec = recipe.data.clean, cleaner(recipe), tasks.of(recipe)
    seen: set[int] = set()
    for name, given in rows:
        row = mended(given)
        texts = text_key(spec, row)
        if clean.drop_empty and not texts:
            continue
        if clean.drop_duplicates:
            key = hash((texts, label_key(spec, row)))
            if key in seen:
                continue
            seen.add(key)
        yield name, row


def text_key(spec: TaskSpec, row: Row) -> tuple[str, ...]:
    """The texts of a row, without white space around them; empty where there is none: equal keys are duplicates."""
    texts = tuple(_plain(row.values.get(column)) for column in spec.text_columns)
    return texts if any(texts) else ()


def label_key(spec: TaskSpec, row: Row) -> str:
    """What a row's label says, to compare it with others."""
    cells = (row.values.get(column) for column in spec.label_columns)
    return "\t".join(_plain(cell if isinstance(cell, dict | list) else class_name(cell)) for cell in cells)


def _plain(value: Value) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value).strip()
    return "" if value is None else str(value)
