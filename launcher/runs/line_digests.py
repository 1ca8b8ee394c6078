"""Four bytes for each line (or row) of a data file, so that two runs can be told which lines differ when the files are gone.

A file of more than MOST of them has a digest for each 2, 4, 8 ... lines together. Standard library alone.
"""

from __future__ import annotations

import difflib
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.runs.records import open_regular

MOST = 1 << 20
"""Digests of a file: 4 MiB."""
MOST_ALIGNED = 2000
"""Digests between the first and the last that differ which are aligned one by one."""


@dataclass(frozen=True)
class Digests:
    """What is kept of a file's lines."""

    count: int
    """Lines in the file."""
    each: int
    """Lines that one digest stands for."""
    values: tuple[int, ...]
    """crc32 of each line, or of the digests of `each` lines."""

    def lines(self, first: int, last: int) -> range:
        """Lines, from 1, that the digests from `first` up to `last` stand for."""
        return range(first * self.each + 1, min(last * self.each, self.count) + 1)


@dataclass(frozen=True)
class Change:
    """Lines, from 1, of one file that stand where those of another stand; empty where lines were added or removed."""

    before: range
    after: range


def digests_of(lines: Iterable[bytes]) -> Digests:
    """The digests of a file's lines, read once."""
    values = array("I", map(zlib.crc32, lines))
    count, each = len(values), 1
    while len(values) > MOST:
        each *= 2
        values = array(
            "I", (zlib.crc32(values[place : place + 2].tobytes()) for place in range(0, len(values), 2))
        )
    return Digests(count, each, tuple(values))


def write_digests(path: Path, digests: Digests) -> None:
    """Write the values, four bytes each, lowest first."""
    path.write_bytes(b"".join(value.to_bytes(4, "little") for value in digests.values))
    path.chmod(0o600)


def read_digests(path: Path, count: int, each: int) -> Digests | None:
    """What `write_digests` wrote of a file of `count` lines; None where that isn't there or has another length."""
    try:
        with open_regular(path) as file:
            content = file.read(4 * MOST + 1)
    except (OSError, ValueError):
        return None
    if each < 1 or len(content) != 4 * -(-count // each):
        return None
    places = range(0, len(content), 4)
    return Digests(
        count, each, tuple(int.from_bytes(content[place : place + 4], "little") for place in places)
    )


def changes(before: Digests, after: Digests) -> Iterator[Change]:
    """Which lines of one file differ from those of another, in order.

    Where much differs, all from the first to the last that does is one change.
    """
    one, two = before.values, after.values
    start = _alike(one, two)
    end = _alike(one[start:][::-1], two[start:][::-1])
    middle = one[start : len(one) - end], two[start : len(two) - end]
    if max(map(len, middle)) > MOST_ALIGNED:
        found = [("replace", 0, len(middle[0]), 0, len(middle[1]))]
    else:
        found = difflib.SequenceMatcher(None, *middle, autojunk=False).get_opcodes()  # type: ignore[assignment]
    for kind, first, last, other_first, other_last in found:
        if kind != "equal":
            yield Change(
                before.lines(start + first, start + last),
                after.lines(start + other_first, start + other_last),
            )


def _alike(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    """How many values at the beginning are the same."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((place for place, (value, other) in pairs if value != other), min(len(one), len(two)))
