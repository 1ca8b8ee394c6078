"""Text that isn't ours, made harmless: a terminal or a page obeys none of its characters."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

COMMANDS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u00ad\u200b\u2060-\u2064\ufeff"  # seen by nobody
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # directions
    "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"  # line ends, annotations, tags
    "\ud800-\udfff"  # bytes of file names that aren't UTF-8
    "]+"
)
"""Characters, one or more, that control, turn round or hide what is shown.

The joiners of Persian, Hindi and emoji are not among them."""


def visible(text: str) -> str:
    r"""`text` with COMMANDS written out, such as `\x1b` or `\u202e`."""
    return COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def json_safe(document: str) -> str:
    r"""A JSON document with the same characters written as JSON does: `\u001b`, beyond U+FFFF as two of them."""
    return COMMANDS.sub(lambda match: _json_escape(match[0]), document)


def _json_escape(characters: str) -> str:
    units = characters.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: those of Chinese, Japanese and Korean letters are two."""
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def shortened(
    text: str, most: int, *, in_the_middle: bool = False, size_of: Callable[[str], int] = len
) -> str:
    """A text of at most so many letters, or columns of a terminal by `columns_of`: an ellipsis stands for what is left out."""
    if size_of(text) <= most:
        return text
    if most < 1:
        return ""
    end = _beginning(text[::-1], (most - 1) // 2, size_of)[::-1] if in_the_middle else ""
    return f"{_beginning(text, most - 1 - size_of(end), size_of)}…{end}"


def _beginning(text: str, most: int, size_of: Callable[[str], int]) -> str:
    """As many of its letters as have room."""
    return text[: bisect_right(list(accumulate(map(size_of, text))), most)]
