"""Files that are whole or not there, and directories that are filled or as they were."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import DamagedFile
from launcher.runs.files import filled, locked, write_text


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


@pytest.mark.parametrize("name", ["no/such/directory", "a" * 300])
def test_what_can_not_be_written_is_named_as_it_was_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=f"{name}'$"):
        write_text(tmp_path / name, "text")


def test_a_file_that_grows_too_large_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """A write itself, unlike an open, names no file."""
    code = (
        "import sys; from pathlib import Path; from launcher.runs.files import write_text\n"
        "write_text(Path(sys.argv[1]), 'x' * 9999)"
    )
    command = ["bash", "-c", 'ulimit -f 1; exec "$0" -c "$1" "$2"', sys.executable, code, tmp_path / "f"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path / 'f'}'"
    assert list(tmp_path.iterdir()) == []
