"""Digests of lines: which lines of two files differ when the files themselves are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.runs import line_digests
from launcher.runs.line_digests import Change, changes, digests_of, read_digests, write_digests

LINES = [f"line {number}".encode() for number in range(1, 101)]


def between(before: list[bytes], after: list[bytes]) -> list[tuple[list[int], list[int]]]:
    found = changes(digests_of(before), digests_of(after))
    return [(list(change.before), list(change.after)) for change in found]


def test_the_same_lines_have_no_changes() -> None:
    assert between(LINES, list(LINES)) == []


def test_a_changed_an_added_and_a_removed_line_are_named() -> None:
    changed = [*LINES[:9], b"another", *LINES[10:39], b"new", *LINES[39:69], *LINES[70:]]
    assert between(LINES, changed) == [([10], [10]), ([], [40]), ([70], [])]


def test_where_too_much_differs_the_whole_stretch_is_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_digests, "MOST_ALIGNED", 3)
    changed = [*LINES[:9], b"x", *LINES[10:49], b"y", *LINES[50:]]
    assert between(LINES, changed) == [(list(range(10, 51)), list(range(10, 51)))]


def test_a_long_file_has_a_digest_for_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_digests, "MOST", 30)
    before = digests_of(LINES)
    assert (before.count, before.each, len(before.values)) == (100, 4, 25)
    after = digests_of([*LINES[:98], b"x", LINES[99]])
    assert list(changes(before, after)) == [Change(range(97, 101), range(97, 101))]


def test_digests_are_read_as_they_were_written(tmp_path: Path) -> None:
    digests = digests_of(LINES)
    write_digests(tmp_path / "0", digests)
    assert read_digests(tmp_path / "0", 100, 1) == digests
    assert read_digests(tmp_path / "0", 101, 1) is None, "those of another file"
    assert read_digests(tmp_path / "1", 100, 1) is None
