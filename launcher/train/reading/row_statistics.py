"""What stands in the rows of each split: counted once, with examples of all that is worth a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from launcher import tasks
from launcher.reading.cleaning import label_key, oddities, text_key
from launcher.reading.data_section import read_options
from launcher.reading.files import words_are_lines
from launcher.reading.messages import where
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.train.reading.sources import Source
from launcher.train.reading.splits import Part
from launcher.visible import shortened

EXAMPLES = 3
"""Places named for each finding; the others are counted."""
TOLD_ROWS = 10_000
"""Progress is told after so many rows."""
Progress = Callable[[int, int], None]
EXCERPT = 60
"""Characters of a text shown with its place."""


class RowPlace(NamedTuple):
    """Where a row stands."""

    name: str
    """Its file or split."""
    position: int

    def __str__(self) -> str:
        return where(Path(self.name), self.position)


@dataclass
class Found:
    """How often something was found, and where first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: RowPlace, text: Callable[[], str], count: int = 1) -> None:
        """Count one more; `text` says what stands there, where that is to be shown."""
        self.count += count
        if len(self.examples) < EXAMPLES:
            said = text()
            self.examples.append(f"{place}: {said}" if said else str(place))


@dataclass(slots=True)
class Text:
    """A text that stands in a split."""

    rows: int
    place: RowPlace
    start: str
    """Its first characters."""
    label: str

    @property
    def excerpt(self) -> str:
        """As much of it as is shown, in one line."""
        return _shortened(self.start)


@dataclass
class SplitStatistics:
    """The rows of one split."""

    rows: int = 0
    texts: dict[int, Text] = field(default_factory=dict)
    """Hash of a text -> where it stands first."""
    labels: Counter[str] = field(default_factory=Counter)
    """Examples of each class; words of each tag."""
    found: dict[str, Found] = field(default_factory=dict)
    """Kind of finding -> how often and where."""
    characters: int = 0

    def add(self, kind: str, place: RowPlace, text: Callable[[], str]) -> None:
        """Count one more of a kind."""
        self.found.setdefault(kind, Found()).add(place, text)


@dataclass(frozen=True)
class Limits:
    """How much is looked at, so that a training doesn't wait for it; None for everything."""

    rows: int | None = None
    """Rows of each source."""
    characters: int | None = None
    """Characters of each split whose texts are looked at more closely than for being equal."""


def unwatched(done: int, total: int) -> None:
    """Progress that nobody follows."""


def statistics_of(
    recipe: Recipe,
    sources: dict[str, Source],
    parts: dict[str, Part],
    names: Sequence[str],
    limits: Limits,
    progress: Progress,
) -> dict[str, SplitStatistics]:
    """Statistics of each split; `names` are the classes or tags. Progress is told the rows seen and those of all splits."""
    found = {split: SplitStatistics() for split in parts}
    total, seen = sum(len(part.rows) for part in parts.values()), 0
    progress(0, total)
    look = Look(recipe, names, limits.characters)
    for origin, source in sources.items():
        here = {split: part.rows for split, part in parts.items() if part.source == origin}
        owner: dict[int, str] = {row: split for split, rows in here.items() for row in rows.tolist()}
        for number, (name, row) in enumerate(source.rows()):
            if number == limits.rows:
                break
            if number in owner:
                look(found[owner[number]], name, row)
                seen += 1
                if seen % TOLD_ROWS == 0:
                    progress(seen, total)
    return found


class Look:
    """Looks at one row."""

    def __init__(self, recipe: Recipe, names: Sequence[str], characters: int | None) -> None:
        self._spec = tasks.of(recipe)
        self._names = names
        self._known = dict.fromkeys(names)
        self._characters = characters
        self._is_conll = cache(lambda name: _is_conll(recipe, name))

    def __call__(self, seen: SplitStatistics, name: str, row: Row) -> None:
        seen.rows += 1
        place = RowPlace(name, row.position)
        texts = text_key(self._spec, row)
        start = " | ".join(texts)[: 2 * EXCERPT]
        if not texts:
            seen.add("empty", place, str)
        else:
            self._compare(seen, place, hash(texts), start, label_key(self._spec, row))
        if self._characters is None or seen.characters < self._characters:
            seen.characters += sum(map(len, texts))
            for kind, example in _oddities(texts).items():
                seen.add(kind, place, example)
            self._labels(seen, place, row)

    def _compare(self, seen: SplitStatistics, place: RowPlace, key: int, start: str, label: str) -> None:
        first = seen.texts.get(key)
        if first is None:
            seen.texts[key] = Text(1, place, start, label)
            return
        first.rows += 1
        if first.label == label or not self._spec.classes:
            seen.add("duplicate", place, lambda: f"{first.excerpt} (first: {first.place})")
        else:
            seen.add(
                "conflict",
                place,
                lambda: (
                    f"{first.excerpt} is {_shortened(label)}, but {_shortened(first.label)} at {first.place}"
                ),
            )

    def _labels(self, seen: SplitStatistics, place: RowPlace, row: Row) -> None:
        wrong = next(self._spec.mistakes(row), None)
        if wrong is not None:
            seen.add("misfit", place, lambda: f"{wrong.column}: {wrong.message}")
            return
        for label in self._spec.class_names(row):
            taken = self._spec.taken_for(label, self._known) or label
            seen.labels[taken] += 1
            if taken != label:
                seen.add("form", place, partial("{} is {}".format, label, taken))
        for finding in self._spec.findings(row, self._names):
            line = finding.offset if self._is_conll(place.name) else 0
            seen.add(finding.kind, RowPlace(place.name, place.position + line), partial(str, finding.text))


def _is_conll(recipe: Recipe, name: str) -> bool:
    return recipe.data.source is None and words_are_lines(Path(name), read_options(recipe.data))


def _shortened(text: str) -> str:
    return shortened(" ".join(text[: 2 * EXCERPT].split()), EXCERPT)


def _oddities(texts: Sequence[str]) -> dict[str, Callable[[], str]]:
    """Kind of oddity -> what shows the first of them."""
    found: dict[str, Callable[[], str]] = {}
    for text in texts:
        for kind, at in oddities(text):
            found.setdefault(kind, partial(_around, text, at))
    return found


def _around(text: str, at: int) -> str:
    """What stands at a place of a text, with some characters before it."""
    start = max(0, at - EXCERPT // 4)
    return ("…" if start else "") + _shortened(text[start : start + 2 * EXCERPT])


def shared(one: SplitStatistics, other: SplitStatistics) -> Iterator[tuple[Text, Text]]:
    """Texts of `one` that also stand in `other`, with both places."""
    for key, text in one.texts.items():
        if key in other.texts:
            yield text, other.texts[key]
