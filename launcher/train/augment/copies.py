"""Altered copies of training examples (data.augment): a pure function of seed, row and copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any

from launcher import tasks
from launcher.errors import RunFailed
from launcher.reading.files import content_hash
from launcher.recipe.data import Augment
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.tasks.shared.words import words
from launcher.train.augment import noise
from launcher.train.augment.back_translation import BackTranslator, model_identity
from launcher.train.augment.noise import Word
from launcher.train.augment.synonyms import WordNet, read_alike, read_synonyms
from launcher.train.reading.sources import text_of

NamedRow = tuple[str, Row]
FORMAT = 2
"""Version of what is altered in which way: a change makes copies in old caches unused."""


class Augmenter:
    """Makes the altered copies that a recipe asks for; RunFailed where a file or a package for that is missing."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._options = options = recipe.data.augment
        self._columns = tasks.of(recipe).altered_columns
        self._is_words = tasks.of(recipe).words
        self._synonyms = _synonyms(options)
        self._alike = {} if options.alike_file is None else read_alike(Path(options.alike_file))
        self._segment = noise.CHARACTER.findall if options.segmenter is None else _jieba()
        two = options.back_translation
        self._translate = None if two is None else BackTranslator(*two)

    def __call__(self, rows: Sequence[NamedRow], numbers: Sequence[int], copy: int) -> list[NamedRow]:
        """Rows with other texts; `numbers` are theirs in the source, and copies count from 1."""
        cells = [dict(row.values) for _, row in rows]
        for column in self._columns:
            draws = [Random(f"{self._recipe.seed} {column} {number} {copy}") for number in numbers]
            if self._is_words:
                altered: Sequence[Any] = [
                    self._words(words(row.values.get(column)) or [], random)
                    for (_, row), random in zip(rows, draws, strict=True)
                ]
            else:
                texts = [text_of(row.values.get(column), name, row) for name, row in rows]
                if self._translate is not None:
                    texts = self._translate(texts, copy)
                altered = [self._text(text, random) for text, random in zip(texts, draws, strict=True)]
            for values, value in zip(cells, altered, strict=True):
                values[column] = value
        return [(name, Row(values, row.position)) for (name, row), values in zip(rows, cells, strict=True)]

    def identity(self) -> list[str]:
        """What copies depend on besides the keys: contents of files and models, versions of packages."""
        options = self._options
        files = [path for path in (options.synonym_file, options.alike_file) if path is not None]
        parts = [f"format {FORMAT}", *(content_hash(Path(path)) for path in files)]
        packages = [options.segmenter, "nltk" if options.wordnet else None]
        parts += [f"{package} {metadata.version(package)}" for package in packages if package is not None]
        for directory in options.back_translation or ():
            parts += model_identity(directory)
        return parts

    def _text(self, text: str, random: Random) -> str:
        options = self._options
        words, rest = noise.split(text, self._segment)
        words = noise.substitute(words, options.synonyms, self._synonyms, random)
        words = noise.insert(words, options.insert, self._synonyms, random)
        words = noise.swap(words, options.swap, random)
        words = noise.delete(words, options.delete, random)
        words = noise.mistype(words, options.typos, self._alike, random)
        return noise.join(words, rest)

    def _words(self, given: Sequence[str], random: Random) -> list[str]:
        """As many words as before: each has a tag."""
        words = [Word("", text) for text in given]
        words = noise.substitute(words, self._options.synonyms, self._synonyms, random)
        return [word.text for word in noise.mistype(words, self._options.typos, self._alike, random)]


def _synonyms(options: Augment) -> noise.Synonyms:
    if options.synonym_file is not None:
        found = read_synonyms(Path(options.synonym_file))
        return lambda word: found.get(word.lower(), ())
    return WordNet() if options.wordnet else lambda _: ()


def _jieba() -> Callable[[str], list[str]]:
    try:
        import jieba
    except ImportError:
        remedy = "pip install 'launch-encoders[chinese]', or data.augment.segmenter=null"
        raise RunFailed("launch", "data.augment.segmenter=jieba: jieba is not installed", remedy) from None
    jieba.setLogLevel("ERROR")
    return jieba.lcut  # type: ignore[no-any-return]
