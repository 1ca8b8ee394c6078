"""What the cell of a label means: a class, several, a number, or yes and no; and the order of classes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from launcher.tasks.shared.rows import Value, shown
from launcher.tasks.shared.written_lists import unwritten

WHOLE = re.compile(r"(?:(-?[1-9][0-9]*)|-?(0))\.0+")
"""A whole number with a fraction of nothing but zeros."""
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
DELIMITERS = ("__", "||", "::", ",", ";", "|", "/", "、", "\uff0c", "\uff1b", "#", "+", "&", "\t", " ")
MOST, SOME = 0.8, 0.25
"""Labels that stand together are taken for several where so many of them have only parts that others have too, and where
so many of all labels stand together."""
DECIMAL_COMMA = re.compile("[-+]?[0-9]+,[0-9]+")
LARGEST = 3.4028234e38
"""Of the numbers in fp32."""
SCORE_REMEDY = "mend or remove the row, or name a column of numbers"
"""What to do about a cell that holds no number where one is learnt."""
NONE = frozenset({"-", "--", "?", "n/a", "#n/a", "nan", "null", "<na>"})
"""What often stands in a cell that has no label."""
MEANINGS = {"true": "1.0", "yes": "1.0", "false": "0.0", "no": "0.0"}
BOOLEANS = {"false": "0", "true": "1"}
FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def class_name(value: Value) -> str | None:
    """A class as it was written, or None where there is none; 3.0 and 3 are the same class, as number and as text."""
    if isinstance(value, list | dict):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if value is None else _written_name(str(value))


@lru_cache(maxsize=1 << 12)
def _written_name(text: str) -> str | None:
    """A class as a text has it; remembered, since a column of labels holds few texts many times."""
    name = text.strip()
    whole = WHOLE.fullmatch(name)
    return (whole[1] or whole[2]) if whole else name or None


def class_names(value: Value, delimiter: str) -> tuple[str, ...] | None:
    """The classes in one multilabel cell, perhaps none; None where the label is missing or no list of names."""
    value = unwritten(value)
    if isinstance(value, str):
        value = value.split(delimiter)
    elif not isinstance(value, list):
        name = class_name(value)
        return (name,) if name else None
    elif any(isinstance(entry, list | dict) for entry in value):
        return None
    return tuple(name for name in map(class_name, value) if name)


def score(value: Value) -> float | None:
    """A number that fp32 can hold, or None where the cell doesn't hold one."""
    number = _number(value)
    return number if number is not None and abs(number) <= LARGEST else None


def _number(value: Value) -> float | None:
    if value is None or isinstance(value, list | dict) or (isinstance(value, str) and "_" in value):
        return None  # Python takes 1_5 for 15
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def flag(value: Value) -> bool | None:
    """Whether a 0/1 column is set, or None where it holds anything else."""
    return FLAGS.get(str(value).strip().lower())


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Label names as they are numbered: by value where all are numbers, otherwise by their characters."""
    unique = set(names)
    numbers = {name: score(name) for name in unique}
    if any(number is None for number in numbers.values()):
        return tuple(sorted(unique))
    return tuple(sorted(unique, key=lambda name: (numbers[name] or 0.0, name)))


def classes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The classes that names in training data stand for, in order: true is 1 and false is 0 where all others are 0 or 1."""
    unique = set(names)
    others = {name for name in unique if name.lower() not in BOOLEANS}
    if others and others <= set(BOOLEANS.values()):
        unique = {BOOLEANS.get(name.lower(), name) for name in unique}
    return in_order(unique)


Known = Sequence[str] | dict[str, None]
"""Names of classes in their order; where many names are looked up, as keys, since a sequence is searched from its start."""


def taken_for(name: str, known: Known) -> str | None:
    """The one of the known classes that a name stands for, however either is written; None where there is none."""
    if name in known:
        return name
    written = {class_name(other): other for other in reversed(known)}
    boolean = name.lower()
    if name not in written and boolean in BOOLEANS:
        written |= {other.lower(): other for other in known if other.lower() in BOOLEANS}
        name = BOOLEANS[boolean] if written.keys() <= set(BOOLEANS.values()) else boolean
    return written.get(name)


def class_numbers(names: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    """The number of the class that each name stands for, without those that stand for none."""
    number = {name: index for index, name in enumerate(known)}
    others = {name: taken_for(name, known) for name in set(names) - number.keys()}
    return number | {name: number[taken] for name, taken in others.items() if taken is not None}


def likeness(name: str) -> str:
    """What names have in common that differ in case, blanks, zeros in front, what is invisible, or how yes and no are written."""
    plain = "".join(INVISIBLE.sub("", name).casefold().split())
    number = score(name)
    return MEANINGS.get(plain, plain if number is None else str(number + 0.0))  # -0.0 is 0.0


def says_none(name: str) -> bool:
    """Whether a name probably stands where there is no label, as `-` does where annotators disagreed."""
    return name == "None" or name.strip().lower() in NONE


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of two or more names that probably mean the same."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(likeness(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def likely_delimiter(names: Sequence[str]) -> str | None:
    """What probably separates several labels in names that consist of each other's parts; None where they don't."""
    best: tuple[float, str] | None = None
    for delimiter in DELIMITERS:
        split = [_parts(name, delimiter) for name in names]
        joint = [parts for parts in split if len(parts) > 1]
        times = Counter(part for parts in split for part in parts)
        shared = sum(all(times[part] > 1 for part in parts) for parts in joint)
        if "" not in times and len(joint) > 1 and len(times) < len(names) and shared >= MOST * len(joint):
            share = len(joint) / len(names)
            best = max(best or (0.0, ""), (share, delimiter), key=lambda found: found[0])
    return best[1] if best and best[0] >= SOME else None


def are_several(names: Iterable[str], delimiter: str) -> bool:
    """Whether most names with this delimiter, and two or more, consist of labels that also stand alone."""
    split = [_parts(name, delimiter) for name in set(names)]
    joint = [parts for parts in split if len(parts) > 1]
    alone = {parts[0] for parts in split if len(parts) == 1}
    fitting = sum(alone.issuperset(parts) for parts in joint)
    return fitting > 1 and 2 * fitting > len(joint)


def _parts(name: str, delimiter: str) -> list[str]:
    """What a delimiter separates in a name; one that stands at an end separates nothing, as in `a;b;`."""
    return [part.strip() for part in name.strip(f"{delimiter} ").split(delimiter)]


def as_read(names: Iterable[str]) -> tuple[str, ...]:
    """Declared classes as cells with them are read."""
    return tuple(class_name(name) or name for name in names)


def class_mistake(value: Value) -> str | None:
    """What is wrong with the cell of one class, or None."""
    if isinstance(value, list) or isinstance(unwritten(value), list):
        return f"{shown(value)} is a list: task=multilabel is for several labels on one text"
    if class_name(value) is None:
        if isinstance(value, float) and math.isinf(value):
            return f"{value} names no class"
        is_empty = value is None or isinstance(value, str | float)
        return (
            "the label is empty" if is_empty else f"{shown(value)} is an object, not a class{_a_part(value)}"
        )
    return None


def _a_part(value: object) -> str:
    """How a part of an object is named."""
    return (
        f": data.label=COLUMN.{next(iter(value))} reaches into it"
        if isinstance(value, dict) and value
        else ""
    )


def score_mistake(value: Value) -> str | None:
    """What is wrong with the cell of a number, or None."""
    number = _number(value)
    if number is None or not math.isfinite(number):
        comma = isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()) is not None
        return f"{shown(value)} is not a finite number" + (": fractions have a point" if comma else "")
    return None if abs(number) <= LARGEST else f"{shown(value)} is too large for fp32, which ends at 3.4e38"


def flag_mistake(value: Value) -> str | None:
    """What is wrong with the cell of a 0/1 column, or None."""
    return None if flag(value) is not None else f"{shown(value)} is neither 0 nor 1"
