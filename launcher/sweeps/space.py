"""Words with ranges or several values -> the space that a search draws points from. Pure.

train.lr=1e-6..1e-4:log       any number between the two, each order of magnitude equally likely
model.dropout.hidden=0..0.3   any number between the two
batch.global=8..64            whole numbers, where both ends are and the key takes such
train.optimizer=adamw,lamb    one of several
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from launcher.errors import Problem, UserError
from launcher.loading.schema import schema_of, takes_whole_numbers
from launcher.recipe.recipe import Recipe
from launcher.sweeps.grid import parts

Value = str | float | int
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
DIGITS = 4
"""Of a number that is drawn: names of trials hold it."""
LARGEST = 10**15


@dataclass(frozen=True)
class Choice:
    """One of several values, as they were written."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_log: bool
    """Whether each order of magnitude is equally likely."""
    is_whole: bool
    """Whether only whole numbers are meant."""


Domain = Choice | Interval


def split_space(words: Sequence[str]) -> tuple[list[str], dict[str, Domain]]:
    """(words with one value, what may be drawn for every other key). Raises UserError with every mistake."""
    fixed: list[str] = []
    space: dict[str, Domain] = {}
    problems: list[Problem] = []
    for word in words:
        key, equals, text = word.partition("=")
        try:
            domain = _domain(key, text) if equals and key != "recipe" else None
        except UserError as error:
            problems += error.problems
            continue
        if domain is not None and key in space:
            problems.append(Problem("is given twice", "override", key, text, "keep one of the two"))
        elif domain is None:
            fixed.append(word)
        else:
            space[key] = domain
    if not problems and not space:
        remedy = "give a key a range or several values: train.lr=1e-6..1e-4:log train.warmup=0,0.1"
        problems.append(Problem("has nothing to search over", field="--search", remedy=remedy))
    for key, _, text in (word.partition("=") for word in fixed):
        if key in space:
            problems.append(Problem("is given twice", "override", key, text, "keep one of the two"))
    if "seed" in space:
        remedy = "search with one seed; then train the best with several: launch recipe=best.yaml seeds=5"
        problems.append(Problem("would be chosen by its luck", "override", "seed", remedy=remedy))
    if problems:
        raise UserError(problems)
    return fixed, space


def words_of(space: Mapping[str, Domain], drawn: Mapping[str, Value]) -> list[str]:
    """A drawn point as words: numbers with a few digits, and never outside their range."""
    return [f"{key}={_text(domain, drawn[key])}" for key, domain in space.items()]


def ends(space: Mapping[str, Domain]) -> list[dict[str, Value]]:
    """Two points: the first or least value of every key, and the last or greatest."""
    both = {
        key: (domain.values[0], domain.values[-1])
        if isinstance(domain, Choice)
        else (domain.low, domain.high)
        for key, domain in space.items()
    }
    return [{key: values[place] for key, values in both.items()} for place in (0, 1)]


def described(space: Mapping[str, Domain]) -> dict[str, str]:
    """The space as text, the same however it was written."""
    return {key: _described(domain) for key, domain in sorted(space.items())}


def _domain(key: str, text: str) -> Domain | None:
    """What may be drawn for a key, None where the text is one value."""
    found = tuple(dict.fromkeys(part for part in parts(text)))
    ranges = [match for match in (RANGE.fullmatch(part.strip()) for part in found) if match]
    if ranges and len(found) > 1:
        remedy = "give values or one range, not both"
        raise UserError("mixes values and a range", "override", key, text, remedy)
    if ranges:
        return _interval(key, text, ranges[0])
    return Choice(found) if len(found) > 1 else None


def _interval(key: str, text: str, match: re.Match[str]) -> Interval:
    leaf = schema_of(Recipe).leaves.get(key)
    is_whole = leaf is not None and takes_whole_numbers(leaf) and not set(match[1] + match[2]) & set(".eE")
    low, high, is_log = float(match[1]), float(match[2]), match[3] is not None
    reason = next(_doubts(low, high, is_log), None)
    if reason is not None:
        remedy = f"for example {key}=1e-6..1e-4:log or {key}=0..0.3"
        raise UserError(reason, "override", key, text, remedy)
    return Interval(low, high, is_log, is_whole)


def _doubts(low: float, high: float, is_log: bool) -> Iterator[str]:
    if not low < high:
        yield "is no range: its first number must be below its second"
    if max(abs(low), abs(high)) > LARGEST:
        yield f"is no range of numbers up to {LARGEST:.0e}"
    if is_log and low <= 0:
        yield "can't be logarithmic: its first number must be above 0"


def _text(domain: Domain, value: Value) -> str:
    if isinstance(domain, Choice):
        return str(value)
    if domain.is_whole:
        return str(int(value))
    short = float(f"{float(value):.{DIGITS}g}")
    return repr(min(max(short, domain.low), domain.high))


def _described(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return ",".join(sorted(domain.values))
    kind = ":log" if domain.is_log else ""
    return f"{domain.low!r}..{domain.high!r}{kind}{' whole' if domain.is_whole else ''}"
