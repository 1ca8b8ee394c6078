"""Files that are whole or not there, and directories that are filled or as they were."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from launcher.errors import DamagedFile
from launcher.runs.files import filled, locked


def test_what_is_half_filled_is_as_it_was_before(tmp_path: Path) -> None:
    empty, others = tmp_path / "empty", tmp_path / "others"
    empty.mkdir()
    others.mkdir()
    (others / "mine").write_text("kept")
    for directory in (tmp_path / "new" / "deep", empty, others):
        _interrupted_in(directory)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "others"]
    assert list(empty.iterdir()) == []
    assert (others / "mine").read_text() == "kept"


def _interrupted_in(directory: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), filled(directory):
        (directory / "sub").mkdir(parents=True)
        (directory / "sub" / "half").write_text("")
        raise KeyboardInterrupt


def test_what_is_filled_stays(tmp_path: Path) -> None:
    with filled(tmp_path / "new"):
        (tmp_path / "new").mkdir()
    assert (tmp_path / "new").is_dir()


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="can't be locked: Is a directory"), locked(tmp_path):
        pass
