"""What some corpora put at every word of a sentence, and nobody means to be learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Mark(NamedTuple):
    """Something at a word that is no part of it."""

    word: re.Pattern[str]
    """A word that has it."""
    what: str
    """What all words have."""
    remedy: str


MARKS: Mapping[str, Mark] = {
    "numbered": Mark(  # Weibo NER (Peng and Dredze, 2015)
        re.compile(r"\D\d"),
        "the place of each character in its word behind it",
        r"take it out: sed -E 's/^([^[:blank:]]+)[0-9]([[:blank:]])/\1\2/' FILE > NEW.conll",
    ),
    "language": Mark(  # WikiANN (Pan et al., 2017)
        re.compile(r"[a-z-]{2,12}:.*"),
        "the language before each word",
        "take it out: sed -E 's/^[a-z-]+://' FILE > NEW.conll",
    ),
}
