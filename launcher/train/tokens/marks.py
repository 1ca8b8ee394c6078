"""Characters that belong to the letter before them, and are none to Python's `re`: accents, vowels of Indic scripts, joiners."""

from __future__ import annotations

import unicodedata

FIRST, LAST = 0x300, 0x1F000
"""Marks stand in between, but for those below."""
OTHERS = "\u200c\u200d\U000e0100-\U000e01ef"
"""What joins and parts letters, and the variants of ideographs."""


def _ranges() -> str:
    """The marks of this Python's Unicode, as the inside of a character class: 30 ms."""
    marks = [code for code in range(FIRST, LAST) if unicodedata.category(chr(code)).startswith("M")]
    starts = [code for code in marks if unicodedata.category(chr(code - 1))[0] != "M"]
    ends = [code for code in marks if unicodedata.category(chr(code + 1))[0] != "M"]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


MARKS = _ranges() + OTHERS
