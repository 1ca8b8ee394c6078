"""Small changes to a text that should leave its label as it is: EDA (Wei and Zou, 2019) and typing errors.

All are pure functions of a text and a random number generator; words are those of `split`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from launcher.tasks.shared.words import HAN, IDEOGRAPHS
from launcher.train.tokens.marks import MARKS

LETTER = rf"(?:(?![{IDEOGRAPHS}_])\w)"
LETTERS = rf"{LETTER}+(?:[{MARKS}]+{LETTER}*)*"
SIGN = rf"\S[{MARKS}\U0001f3fb-\U0001f3ff]*"
FLAG = r"[\U0001f1e6-\U0001f1ff]{2}"
PIECE = re.compile(
    rf"(\s*)([{IDEOGRAPHS}][{IDEOGRAPHS}{MARKS}]*|{LETTERS}(?:['\u2019-]{LETTERS})*|{FLAG}|{SIGN}(?:(?<=\u200d){SIGN})*)"
)
"""A word, or a mark of punctuation, or a picture, which may be several characters."""
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

CHARACTER = re.compile(rf".[{MARKS}]*")
"""With the marks on it."""

Segment = Callable[[str], Sequence[str]]
"""Cuts a run of Chinese or Japanese characters into words."""
Synonyms = Callable[[str], Sequence[str]]
"""What may stand for a word, perhaps nothing."""


STEPS = {(0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0)}
"""(row, column) steps to the six keys around a key: each row of a keyboard stands half a key to the right of that above."""


def _beside() -> dict[str, str]:
    """Letters around each letter on a QWERTY keyboard."""
    places = {key: (row, column) for row, keys in enumerate(KEYBOARD) for column, key in enumerate(keys)}
    return {
        key: "".join(other for other, (r, c) in places.items() if (r - row, c - column) in STEPS)
        for key, (row, column) in places.items()
    }


BESIDE = _beside()


@dataclass(frozen=True)
class Word:
    """A word or a mark of punctuation."""

    gap: str
    """White space before it."""
    text: str

    @property
    def is_word(self) -> bool:
        """Whether it is no punctuation."""
        return self.text[:1].isalnum()


def split(text: str, segment: Segment = CHARACTER.findall) -> tuple[list[Word], str]:
    """Words and marks of a text, and the white space after the last."""
    words: list[Word] = []
    end = 0
    for found in PIECE.finditer(text):
        gap, piece = found.groups()
        parts = segment(piece) if re.match(HAN, piece) else (piece,)
        words += [Word(gap if number == 0 else "", part) for number, part in enumerate(parts)]
        end = found.end()
    return words, text[end:]


def join(words: Sequence[Word], rest: str = "") -> str:
    """The text of these words."""
    return "".join(word.gap + word.text for word in words) + rest


def substitute(words: Sequence[Word], share: float, synonyms: Synonyms, random: Random) -> list[Word]:
    """Each word gives way to a synonym with probability `share`, where it has one."""
    return [
        replace(word, text=other)
        if word.is_word and random.random() < share and (other := _synonym(word.text, synonyms, random))
        else word
        for word in words
    ]


def insert(words: Sequence[Word], share: float, synonyms: Synonyms, random: Random) -> list[Word]:
    """For each word, with probability `share`, one of its synonyms is put in at a random place."""
    changed = list(words)
    for word in words:
        if not word.is_word or random.random() >= share:
            continue
        other = _synonym(word.text, synonyms, random)
        if other is None:
            continue
        place = random.randrange(len(changed) + 1)
        gap = "" if re.match(HAN, other) else " "
        new = Word(gap if place else "", other)
        if place == 0 and gap and not changed[0].gap:
            changed[0] = replace(changed[0], gap=gap)
        changed.insert(place, new)
    return changed


def swap(words: Sequence[Word], share: float, random: Random) -> list[Word]:
    """Each word changes places with another one with probability `share`."""
    changed = list(words)
    places = [place for place, word in enumerate(words) if word.is_word]
    for one in places:
        if len(places) > 1 and random.random() < share:
            other = random.choice(places)
            first, second = changed[one].text, changed[other].text
            changed[one], changed[other] = (
                replace(changed[one], text=second),
                replace(changed[other], text=first),
            )
    return changed


def delete(words: Sequence[Word], share: float, random: Random) -> list[Word]:
    """Each word is left out with probability `share`; one always stays."""
    places = [place for place, word in enumerate(words) if word.is_word]
    gone = {place for place in places if random.random() < share}
    if places and len(gone) == len(places):
        gone.discard(random.choice(places))
    return [word for place, word in enumerate(words) if place not in gone]


def mistype(words: Sequence[Word], share: float, alike: Mapping[str, str], random: Random) -> list[Word]:
    """Each letter or ideograph is mistyped with probability `share`; a word never vanishes."""
    return [
        replace(word, text=_mistyped(word.text, share, alike, random)) if word.is_word else word
        for word in words
    ]


def _mistyped(text: str, share: float, alike: Mapping[str, str], random: Random) -> str:
    characters = CHARACTER.findall(text)
    place = 0
    while place < len(characters):
        if random.random() < share:
            place += _mistype(characters, place, alike, random)
        place += 1
    return "".join(characters) or text


def _mistype(characters: list[str], place: int, alike: Mapping[str, str], random: Random) -> int:
    """Change one character in place; returns how many more are done with."""
    character = characters[place]
    if alike and re.match(HAN, character):
        characters[place] = random.choice(alike.get(character, character))
        return 0
    if not character[:1].isalpha():
        return 0
    kinds = ["swap", "drop"] if re.match(HAN, character) else ["swap", "drop", "double", "beside"]
    kind = random.choice(kinds)
    beside = BESIDE.get(character.lower())
    if kind == "beside" and beside:
        key = random.choice(beside)
        characters[place] = key.upper() if character.isupper() else key
    elif kind == "drop":
        del characters[place]
        return -1
    elif kind == "swap" and place + 1 < len(characters):
        characters[place], characters[place + 1] = characters[place + 1], character
        return 1
    else:
        characters.insert(place, character)
        return 1
    return 0


def _synonym(word: str, synonyms: Synonyms, random: Random) -> str | None:
    found = synonyms(word)
    if not found:
        return None
    other = random.choice(found)
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other.capitalize() if word[:1].isupper() and other.islower() else other
