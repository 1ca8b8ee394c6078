"""The language of texts, as far as a choice of model needs it, and the model that is a good start for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher import families

ALL = "*"
KANA, HANGUL, HAN = (re.compile(text) for text in ("[\u3040-\u30ff]", "[\uac00-\ud7af]", "[\u3400-\u9fff]"))
LATIN = re.compile(r"[A-Za-z]")
ENGLISH = frozenset(
    re.findall(
        "[a-z]+",
        "the of and to a in is it that was for on are with as i his they be at this have from or had by but not"
        " what all were we when your can there an which do if will you my he she so no than has more out about very",
    )
)
"""The most frequent words of English."""
SHARE = 0.2
"""Share of these among the words of an English text; running text has about half."""


class Language(NamedTuple):
    """A language by its ISO 639-1 code, `*` where it is another than those that are told apart."""

    code: str
    name: str


def language_of(texts: Iterable[str]) -> Language:
    """The language that most of what the texts say is in; a word by itself tells little."""
    found: Counter[str] = Counter()
    for text in texts:
        found[_language(text)] += len(text)
    code = found.most_common(1)[0][0] if found else ALL
    names = {"en": "English", "zh": "Chinese", "ja": "Japanese", "ko": "Korean"}
    return Language(code, names.get(code, "neither English nor Chinese, or too short to tell"))


def _language(text: str) -> str:
    for pattern, code in ((KANA, "ja"), (HANGUL, "ko"), (HAN, "zh")):
        if 3 * len(pattern.findall(text)) > len(text.replace(" ", "")):
            return code
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words or 10 * len(LATIN.findall(text)) < 9 * sum(map(len, words)):
        return ALL
    return "en" if sum(word in ENGLISH for word in words) >= SHARE * len(words) else ALL


def models_for(language: Language) -> Sequence[str]:
    """Hub ids of models that speak the language, the one that read more first; those for all languages where there is none."""
    known = sorted(map(families.find, families.FAMILIES), key=lambda family: -family.read_gb)
    own = [family.speaks[language.code] for family in known if language.code in family.speaks]
    return own or [family.speaks[ALL] for family in known if ALL in family.speaks]
