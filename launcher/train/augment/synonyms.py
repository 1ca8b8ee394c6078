"""Words that may stand for one another: from a file of the user's, or from WordNet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from launcher.errors import RunFailed, UserError
from launcher.reading.textfiles import lines

SEPARATORS = re.compile(r"\t+|\s*[,\uff0c;\uff1b]\s*|\s+")
CILIN = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d([=#@])")
"""Head of a line of 同义词词林: `=` before synonyms, `#` before words of one kind, `@` before a word alone."""

T = TypeVar("T")


def read_synonyms(path: Path) -> dict[str, tuple[str, ...]]:
    """Word in lower case -> its synonyms, of a file with a line for each set; RunFailed of class `data` where there are none."""
    sets = []
    for line in _lines(path):
        words = list(dict.fromkeys(word for word in SEPARATORS.split(line.strip()) if word))
        head = CILIN.fullmatch(words[0]) if words else None
        if head is None or head[1] == "=":
            sets.append(words[0 if head is None else 1 :])
    found: dict[str, tuple[str, ...]] = {}
    for words in sets:
        for word in words:
            others = tuple(other for other in words if other.lower() != word.lower())
            if others:
                found[word.lower()] = tuple(dict.fromkeys((*found.get(word.lower(), ()), *others)))
    return _some(found, path, "two or more words on a line, separated by tabs, commas or blanks")


def read_alike(path: Path) -> dict[str, str]:
    """Character -> those that sound or look alike, of a file with a line for each set."""
    found: dict[str, str] = {}
    for line in _lines(path):
        characters = dict.fromkeys(re.sub(r"[\s,\uff0c;\uff1b]", "", line))
        for character in characters:
            found[character] = found.get(character, "") + "".join(c for c in characters if c != character)
    return _some(
        {one: others for one, others in found.items() if others}, path, "two or more characters on a line"
    )


def _lines(path: Path) -> Iterable[str]:
    try:
        return [line for _, line in lines(path)]
    except UserError as error:
        raise RunFailed("data", str(error)) from None


def _some(found: dict[str, T], path: Path, wanted: str) -> dict[str, T]:
    if not found:
        raise RunFailed("data", f"{path}: holds no sets", f"write {wanted}")
    return found


class WordNet:
    """Synonyms of English words from Princeton WordNet (Miller, 1995) through nltk, of any part of speech."""

    def __init__(self) -> None:
        try:
            from nltk.corpus import wordnet
        except ImportError:
            remedy = "pip install 'launch-encoders[wordnet]' && python -m nltk.downloader wordnet"
            raise RunFailed("launch", "data.augment.wordnet: nltk is not installed", remedy) from None
        try:
            wordnet.ensure_loaded()
        except LookupError:
            text = "data.augment.wordnet: nltk has no WordNet here"
            raise RunFailed("launch", text, "python -m nltk.downloader wordnet") from None
        self._wordnet = wordnet
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, word: str) -> tuple[str, ...]:
        key = word.lower()
        if key not in self._known:
            names = (name for synset in self._wordnet.synsets(key) for name in synset.lemma_names())
            self._known[key] = tuple(
                dict.fromkeys(name for name in names if name.lower() != key and "_" not in name)
            )
        return self._known[key]
