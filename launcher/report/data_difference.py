"""Which lines of data differ between two runs, by what each recorded; with the text where a file is still the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from launcher import paths
from launcher.errors import UserError
from launcher.reading.data_section import read_options
from launcher.reading.files import content_hash, read_rows
from launcher.reading.opening import open_file
from launcher.runs.directory import RunDir
from launcher.runs.line_digests import Change, changes
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.provenance import DataFile, DataUsed, digests_of_file, read_data_used
from launcher.visible import shortened

MOST_SHOWN = 5
"""Changes that are named; the others are counted."""
LONGEST = 120
"""Characters of a line that are shown."""
MOST_BYTES = 1 << 30
"""A larger file is not read again to see whether it is still the one that was trained on."""


def data_notes(one: RunDir, two: RunDir) -> Iterator[str]:
    """One line for each thing in which the data differ; none where they are the same."""
    used = read_data_used(one), read_data_used(two)
    first, second = used
    if first is None or second is None:
        yield from lacking((one, two), used)
        return
    told = [*_of_files(Side(one, first), Side(two, second)), *_of_examples(first, second)]
    yield from told
    if not told and first.fingerprint != second.fingerprint:
        yield (
            "the files are the same, but not what is made of them: the tokenizer, hub data, keys of data.* or the seed "
            f"that draws rows differ (fingerprints {first.fingerprint[:12]} and {second.fingerprint[:12]})"
        )


class Side:
    """The data of one of the runs."""

    def __init__(self, run: RunDir, used: DataUsed) -> None:
        self.run = run
        self.used = used

    def files(self, split: str) -> list[tuple[int, DataFile]]:
        """Those of a split with their places in the record."""
        return [(number, file) for number, file in enumerate(self.used.files) if file.split == split]

    def line(self, file: DataFile, number: int) -> str | None:
        """The text of a line (or row), where the file is still the one that was read."""
        path = Path(file.path)
        try:
            if not paths.is_file(path) or path.stat().st_size != file.bytes or file.bytes > MOST_BYTES:
                return None
            if content_hash(path) != file.sha256:
                return None
            return self._text(path, number, file.unit == "row")
        except (OSError, UserError):
            return None

    def _text(self, path: Path, number: int, is_row: bool) -> str | None:
        if is_row:
            rows = islice(read_rows(path, read_options(planned_recipe(self.run).data)), number - 1, number)
            return next((str(row.values) for row in rows), None)
        with open_file(path) as lines:
            found = next(islice(lines, number - 1, number), None)
        return None if found is None else found.rstrip(b"\r\n").decode("utf-8", "replace")


def _of_examples(one: DataUsed, two: DataUsed) -> Iterator[str]:
    for split in dict.fromkeys([*one.examples, *two.examples]):
        counts = one.examples.get(split, 0), two.examples.get(split, 0)
        if counts[0] != counts[1]:
            yield f"{split}: {counts[0]:,} and {counts[1]:,} examples"
    if one.labels != two.labels:
        only = [sorted({*a.labels} - {*b.labels})[:MOST_SHOWN] for a, b in ((one, two), (two, one))]
        yield f"labels: only in the first {only[0]}, only in the second {only[1]}"


def lacking(runs: tuple[RunDir, RunDir], found: tuple[object, object]) -> tuple[str, ...]:
    """A line where some of two runs have no record of something."""
    names = [run.run_id for run, record in zip(runs, found, strict=True) if record is None]
    if not names:
        return ()
    return (f"not recorded by {' and '.join(names)}: its training had not begun, or an older launch ran it",)


def _of_files(one: Side, two: Side) -> Iterator[str]:
    splits = dict.fromkeys(file.split for side in (one, two) for file in side.used.files)
    for split in splits:
        files = one.files(split), two.files(split)
        if len(files[0]) != len(files[1]):
            yield f"{split}: {len(files[0])} and {len(files[1])} files"
            continue
        for first, second in zip(*files, strict=True):
            if first[1].sha256 != second[1].sha256:
                yield from _of_file(one, two, first, second)


def _of_file(
    one: Side, two: Side, first: tuple[int, DataFile], second: tuple[int, DataFile]
) -> Iterator[str]:
    a, b = first[1], second[1]
    name = f"{a.split}: {a.path}" + ("" if a.path == b.path else f" and {b.path}")
    digests = digests_of_file(one.run, first[0], a), digests_of_file(two.run, second[0], b)
    if digests[0] is None or digests[1] is None or a.each != b.each or a.unit != b.unit:
        yield f"{name}: the contents differ ({a.bytes:,} and {b.bytes:,} bytes); which lines do is not recorded"
        return
    found = list(changes(digests[0], digests[1]))
    if not found:
        yield f"{name}: the same {a.unit}s, written otherwise (line ends, compression or layout)"
    for change in found[:MOST_SHOWN]:
        yield f"{name}: {_told(change, a.unit or 'line')}"
        for side, file, lines, sign in ((one, a, change.before, "-"), (two, b, change.after, "+")):
            text = side.line(file, lines[0]) if len(lines) == 1 else None
            if text is not None:
                yield f"    {sign} {shortened(text, LONGEST)}"
    if len(found) > MOST_SHOWN:
        yield f"{name}: {len(found) - MOST_SHOWN} more changes"


def _told(change: Change, unit: str) -> str:
    before, after = _numbers(change.before, unit), _numbers(change.after, unit)
    if not change.before:
        return f"{after} added"
    if not change.after:
        return f"{before} removed"
    return f"{before} differs" if change.before == change.after else f"{before} became {after}"


def _numbers(lines: range, unit: str) -> str:
    if len(lines) == 1:
        return f"{unit} {lines[0]:,}"
    return f"{unit}s {lines[0]:,} to {lines[-1]:,}" if lines else ""
