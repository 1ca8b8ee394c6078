"""Words with several values -> the points of a grid. Pure.

train.lr=1e-5,2e-5    two values: commas outside brackets and quotes
seed=1..5             five: whole numbers from one to the other
data.text=[a,b]       one, a list; data.text=[a],[a,b] is two

Ranges of other numbers hold too many to be tried: a search draws from them, see `space`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from launcher.errors import UserError

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
NUMBERS = re.compile(r"[-+.\d]+[eE\d.+-]*\.\.[-+.\d]+[eE\d.+-]*(:log)?")
MOST_TRIALS = 10_000
_OPENING, _CLOSING = "[{", "]}"


def split_words(words: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """(words with one value, the values of every other key in the order given).

    Raises UserError where a range is empty, a key is given twice, or the points are too many to be meant.
    """
    fixed: list[str] = []
    axes: dict[str, tuple[str, ...]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        values = tuple(dict.fromkeys(_values(key, text))) if equals and key != "recipe" else (text,)
        if key in axes:
            raise UserError("is given twice", "override", key, text, "keep one of the two")
        if len(values) > 1:
            axes[key] = values
        else:
            fixed.append(f"{key}={values[0]}" if equals else word)
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_TRIALS:
        remedy = "give fewer values; a search that draws some of them is more use than a grid of that size"
        raise UserError(f"makes {count:,} trials, and {MOST_TRIALS:,} are the most", remedy=remedy)
    return fixed, axes


def points(axes: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The words of each point of the grid, the last key changing fastest; one without words where there is no axis."""
    for values in product(*axes.values()):
        yield [f"{key}={value}" for key, value in zip(axes, values, strict=True)]


def _values(key: str, text: str) -> Iterator[str]:
    for part in parts(text):
        match = RANGE.fullmatch(part.strip())
        if match is None:
            if NUMBERS.fullmatch(part.strip()):
                remedy = "a search draws from it: --search random --trials 20"
                raise UserError("is a range of too many numbers to try", "override", key, part, remedy)
            yield part
            continue
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise UserError("is no range of whole numbers", "override", key, part, "for example seed=1..5")
        if last - first >= MOST_TRIALS:
            message = f"has more than {MOST_TRIALS:,} numbers, the most trials that there are"
            raise UserError(message, "override", key, part, "for example seed=1..5")
        yield from map(str, range(first, last + 1))


def parts(text: str) -> Iterator[str]:
    """The text cut at its commas outside brackets and quotes."""
    depth, quote, start = 0, "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def seeds_as_values(words: Sequence[str]) -> list[str] | None:
    """The words of a run with `seeds=N` as those of a sweep over the seeds 1 to N; None where it has none."""
    given = [word.partition("=")[2] for word in words if word.startswith("seeds=")]
    if not given:
        return None
    others = [word for word in words if not word.startswith("seeds=")]
    if len(given) > 1 or any(word.startswith("seed=") for word in others):
        remedy = "leave one out, or name the seeds: launch sweep ... seed=3,7"
        raise UserError("is given twice", "override", "seeds", ", ".join(given), remedy)
    count = int(given[0]) if re.fullmatch("[0-9]{1,9}", given[0]) else 0
    if not 2 <= count <= MOST_TRIALS:
        message = f"must be a whole number from 2 to {MOST_TRIALS:,}"
        raise UserError(message, "override", "seeds", given[0], "one seed alone is seed=N")
    return [*others, f"seed=1..{count}"]
