"""Rows of data whose task nobody has named yet, column by column, and what may be guessed from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from launcher.tasks.shared import labels
from launcher.tasks.shared.rows import Row, Value, shown
from launcher.tasks.shared.words import HAN
from launcher.tasks.shared.written_lists import unwritten

MOST = 0.98
"""Share of the cells that must be as they are taken to be; the others are mistakes in the data."""
WHOLE = 0.9
"""Share of the rows that must have both texts of a pair."""
CLASSES = 1000
"""More values than these are no classes."""
SHOWN = 4
"""Classes that a sentence names."""
IDS = re.compile(
    r"#?\d* ?(id|idx|index|guid|uid|uuid|qid|pid|nr|no|number|url|link|date|time|timestamp|file|path)"
    r"|(?!.*(label|class|category|intent|topic|tag)).* (id|idx|index|guid|uid|uuid|url)"
)
MOMENT = re.compile(
    r"(?=\D*\d)(?:(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*+|utc|gmt|[ecmp][sd]t"
    r"|[ap]m|[\d\s:.,/+tz-])++",
    re.IGNORECASE,
)
"""A date as people write it, with or without the time, and with the names of days and months."""
ABOUT_LABELS = {"confidence", "agreement", "annotator", "annotators", "worker"}
"""Words in the names of columns that say how a label came to be."""
LABELS = {
    *("class", "category", "target", "sentiment", "intent", "topic", "emotion", "polarity", "quality"),
    *("gold", "y", "tag", "tags", "outcome", "verdict"),
}
"""Words in the names of columns that hold what is to be learnt."""
TEXTS = {
    *("text", "texts", "sentence", "review", "comment", "content", "body", "message", "tweet", "document"),
    *("question", "utterance", "post", "abstract", "description", "context", "passage", "words", "tokens"),
}
"""Words in the names of columns of text."""
DOCUMENT = (("title", "text"), ("title", "body"), ("text", "summary"))
"""Names of two parts of one text."""
SECOND = (
    ("premise", "hypothesis"),
    ("context", "hypothesis"),
    ("sentence", "hypothesis"),
    ("premise", "hypo"),
    ("query", "document"),
    ("query", "passage"),
    ("question", "passage"),
    ("question", "context"),
    ("question", "sentence"),
    ("question", "answer"),
    *DOCUMENT,
)
"""Names of the two texts of a pair, beside those that differ in a number or a letter."""
OURS = re.compile(r"column\d+")
"""What columns are called that nobody has named."""
NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<mark>1|2|a|b|first|second)(?P<rest>[ _.-].*)?")

IN_A_ROW = re.compile(r"(?P<stem>.*?[a-z])[ _.-]?(\d|(?<=[a-z])[A-F]|(?<=[ _.-])[a-f])")
"""What columns are called of which each holds one more of the same: answerA, option_b, ending0."""


class Said(NamedTuple):
    """The value of a key, and why it has it."""

    value: Any
    why: str


@dataclass(frozen=True)
class Guess:
    """What rows may be for."""

    certainty: float
    """0 to 1; of two guesses the one with more is taken."""
    why: str
    """The sentence behind the task."""
    keys: Mapping[str, Said] = field(default_factory=dict)
    """The recipe's keys that say so: columns, and whatever the task needs besides."""


@dataclass(frozen=True)
class Column:
    """The cells of one column."""

    name: str
    values: tuple[Value, ...]
    is_given: bool = False
    """Whether the user has said that it is the label."""

    @cached_property
    def filled(self) -> list[Value]:
        """The cells that hold anything."""
        return [value for value in self.values if value not in (None, "")]

    @cached_property
    def names(self) -> Counter[str]:
        """How often each class stands here, were the cells classes."""
        return Counter(name for value in self.filled if (name := labels.class_name(value)) is not None)

    @cached_property
    def numbers(self) -> list[float]:
        """The cells as numbers; empty where some are none."""
        found = [labels.score(value) for value in self.filled]
        numbers = [number for number in found if number is not None]
        return numbers if len(numbers) == len(found) else []

    @cached_property
    def lists(self) -> list[list[Any]]:
        """The cells as lists; empty where some are none."""
        found = [unwritten(value) for value in self.filled]
        kept = [value for value in found if isinstance(value, list)]
        return kept if len(kept) == len(found) else []

    @property
    def holds_names(self) -> bool:
        """Whether the cells are lists of texts, and not what annotators said."""
        return not self.is_about_labels and any(
            isinstance(item, str) for found in self.lists for item in found
        )

    @property
    def words_of_name(self) -> set[str]:
        """The words that its name is made of, of a dotted one the last part's."""
        return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self._last).lower()))

    @property
    def _last(self) -> str:
        return self.name.rpartition(".")[2]

    @cached_property
    def characters(self) -> float:
        """Mean length of a text; 0 where cells are no texts."""
        texts = [value for value in self.filled if isinstance(value, str)]
        return sum(map(len, texts)) / len(texts) if texts and len(texts) == len(self.filled) else 0.0

    @cached_property
    def is_text(self) -> bool:
        """Whether most cells are texts of several words, or of several characters in a script without blanks."""
        if not self.characters or self.numbers or self.is_id:
            return False
        if self.is_moment:
            return False
        some = [str(value) for value in self.filled[:2000]]
        words = sum(len(text.split()) + len(re.findall(HAN, text)) / 2 for text in some) / len(some)
        return words >= 3 and len(set(some)) >= max(2, 0.05 * len(some))

    @cached_property
    def is_moment(self) -> bool:
        """Whether the cells are dates, or numbers with marks between them."""
        some = (str(value).strip() for value in self.filled[:2000])
        return not self.numbers and mostly(bool(MOMENT.fullmatch(text)) for text in some)

    @cached_property
    def is_id(self) -> bool:
        """Whether the cells name their rows, or say where they are from."""
        if IDS.fullmatch(self._last.lower().replace("_", " ").strip()):
            return True
        texts = [str(value).strip() for value in self.filled if not isinstance(value, list | dict)]
        whole = all(text.isdecimal() or not re.search(r"[\s.]", text) for text in texts)
        few = 20
        return whole and len(texts) >= few and len(set(texts)) == len(texts) and not re.search(HAN, texts[0])

    @cached_property
    def is_flag(self) -> bool:
        """Whether all cells are 0 or 1, and both occur."""
        return {labels.flag(value) for value in self.values} == {True, False}

    @cached_property
    def is_numbered(self) -> bool:
        """Whether the cells are classes by their numbers: 0, 1, 2, ... or 1, 2, 3, ..."""
        numbers = sorted(set(self.numbers))
        count = len(numbers)
        return self.is_classes and count > 0 and numbers in ([*range(count)], [*range(1, count + 1)])

    @property
    def is_about_labels(self) -> bool:
        """Whether its name says that it tells how a label came to be."""
        return bool(self.words_of_name & ABOUT_LABELS)

    @cached_property
    def is_classes(self) -> bool:
        """Whether the cells are few names, each of them often enough."""
        count = len(self.names)
        rows = len(
            self.filled if self.is_given or self.named_as_label else self.values
        )  # rows that lack a label are told later
        whole = sum(self.names.values()) >= MOST * rows
        fractions = any(not number.is_integer() for number in self.numbers)
        few = 2 <= count <= min(CLASSES, max(2, rows / 2))
        return whole and few and not fractions and (self.is_given or (not self.is_text and not self.is_id))

    @property
    def named_as_label(self) -> float:
        """0 to 0.4: how much its name says that it is what is to be learnt."""
        words, name = self.words_of_name, self._last.lower()
        if self.is_about_labels:
            return 0.0
        if words & {"label", "labels"}:
            return 0.4 if name in ("label", "labels") or "gold" in words else 0.35
        return 0.3 if words & LABELS else 0.0

    @property
    def told(self) -> str:
        """Its most frequent classes with their shares, for a sentence."""
        some = self.names.most_common(SHOWN)
        parts = [f"{shown(name)} {count / sum(self.names.values()):.0%}" for name, count in some]
        return ", ".join(parts) + (" and others" if len(self.names) > SHOWN else "")


class Sample:
    """The columns of some rows."""

    def __init__(
        self, columns: Sequence[Column], *, text: Sequence[str] = (), label: Sequence[str] = ()
    ) -> None:
        self.columns = tuple(columns)
        self.given_text = tuple(text)
        """Columns that are the texts, as was said; empty where that is to be guessed."""
        self.given_label = tuple(label)

    @classmethod
    def of(cls, rows: Sequence[Row], **given: Sequence[str]) -> Sample:
        """The columns of rows that hold anything, as spreadsheets have others; those within objects by their dotted names."""
        filled = (row for row in rows if any(value not in (None, "") for value in row.values.values()))
        cells = [dict(_reached(row.values)) for row in filled]
        names = dict.fromkeys(name for row in cells for name in row)
        label = given.get("label", ())
        return cls(
            [Column(name, tuple(row.get(name) for row in cells), name in label) for name in names], **given
        )

    @property
    def rows(self) -> int:
        return len(self.columns[0].values) if self.columns else 0

    @property
    def is_nameless(self) -> bool:
        """Whether nobody has named the columns."""
        return all(OURS.fullmatch(column.name) for column in self.columns)

    def named(self, name: str) -> Column | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)

    def label(self, fits: Callable[[Column], bool]) -> Column | None:
        """The column that is most likely what is to be learnt, of those that fit; the last of equals."""
        candidates = [
            column for column in self.columns if column.name not in self.given_text and fits(column)
        ]
        if self.given_label:
            candidates = [column for column in candidates if (column.name,) == self.given_label]
        last = self.columns[-1] if self.columns else None
        return max(
            candidates,
            key=lambda column: (
                column.named_as_label,
                self.is_nameless and column.is_numbered,
                column in (self.columns[0], last),
                -len(column.names),
            ),
            default=None,
        )

    @cached_property
    def text_columns(self) -> list[Column]:
        """Every column of texts; where there is none, the one with the most different short ones."""
        if self.given_text:
            return [column for column in self.columns if column.name in self.given_text]
        found = [column for column in self.columns if column.is_text]
        if found:
            return found
        short = [
            column for column in self.columns if column.characters and not column.numbers and not column.is_id
        ]
        best = max(short, key=lambda column: len(column.names), default=None)
        return [best] if best is not None and len(best.names) > self.rows / 2 else []

    def texts_beside(self, *others: str) -> tuple[Column, ...]:
        """The column of text that is to be read, or two of a pair; none where there is no text."""
        found = [column for column in self.text_columns if column.name not in others]
        whole = all(len(column.filled) >= WHOLE * self.rows for column in found)
        pair = next(_pairs(found), None) or (tuple(found) if len(found) == 2 and whole else None)
        if pair is not None and set(pair) <= set(found):
            return pair
        best = max(
            found, key=lambda column: (bool(column.words_of_name & TEXTS), column.characters), default=None
        )
        return () if best is None else (best,)

    def said_texts(self, *others: str) -> Said | None:
        """data.text with its sentence; None where there is no text beside `others`."""
        texts = self.texts_beside(*others)
        if not texts:
            return None
        left = [
            column.name
            for column in self.columns
            if (column.is_text or column in self.text_columns)
            and column not in texts
            and column.name not in others
        ]
        lists = [column.name for column in self.columns if column.holds_names and column.name not in others]
        read = (*others, *(column.name for column in texts))
        objects = [
            column.name
            for column in self.columns
            if any(isinstance(value, dict) and value for value in column.filled)
            and not any(name.startswith(f"{column.name}.") for name in read)
        ]
        also = f" There are also texts in {', '.join(map(shown, left))}." if left else ""
        also += f" Lists are no text: {', '.join(map(shown, lists))} is not read." if lists else ""
        also += f" Objects are no text: {', '.join(map(shown, objects))} is not read." if objects else ""
        names = tuple(column.name for column in texts)
        if len(names) == 1:
            what = "is the column of text" if not left else "looks most like the text to be read"
            return Said(names[0], f"{shown(names[0])} {what}.{also}")
        return Said(list(names), f"A pair of texts, read together.{also}")

    @property
    def compared(self) -> tuple[Column, ...]:
        """Two columns whose names say that their texts are held against each other; none where there are no such."""
        parts = {frozenset(names) for names in DOCUMENT}
        pairs = (pair for pair in _pairs(self.text_columns) if {column.name for column in pair} not in parts)
        return next(pairs, ())

    @property
    def chosen_from(self) -> tuple[Column, ...]:
        """Three columns of text and more whose names say that each holds one more of the same; none where there are no such.

        Negatives aren't meant, of which there may be several.
        """
        stems: dict[str, list[Column]] = {}
        for column in () if self.is_nameless else self.text_columns:
            if (found := IN_A_ROW.fullmatch(column.name)) and "neg" not in found["stem"].lower():
                stems.setdefault(found["stem"], []).append(column)
        return next((tuple(found) for found in stems.values() if len(found) > 2), ())


def _pairs(columns: Sequence[Column]) -> Iterator[tuple[Column, ...]]:
    """Columns whose names say that they are the two texts of a pair."""
    by_name = {column.name.rpartition(".")[2].lower(): column for column in columns}
    for first, second in SECOND:
        if first in by_name and second in by_name:
            yield by_name[first], by_name[second]
    stems: dict[tuple[str, str], list[Column]] = {}
    for name, column in by_name.items():
        if found := NUMBERED.fullmatch(name):
            stems.setdefault((found["stem"], found["rest"] or ""), []).append(column)
    plain_first = sorted(stems.items(), key=lambda one: len(one[0][1]))
    yield from (tuple(found) for _, found in plain_first if len(found) == 2)


def _reached(values: Mapping[str, Any], prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Every cell of a row, and what lies within its objects by dotted names."""
    for name, value in values.items():
        yield prefix + name, value
        if isinstance(value, dict) and depth > 1:
            yield from _reached(value, f"{prefix}{name}.", depth - 1)


def mostly(answers: Iterable[bool]) -> bool:
    """Whether nearly all of some are true, and there are any."""
    found = list(answers)
    return bool(found) and sum(found) >= MOST * len(found)
