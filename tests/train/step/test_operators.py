"""The place where DeepSpeed's operators are compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from launcher.train.step.operators import building, extensions_dir


@pytest.fixture
def killed_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock that a build left which was killed, in nobody else's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(extensions_dir()))
    lock = extensions_dir() / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    return lock


def test_a_build_that_was_killed_hangs_nobody(killed_build: Path) -> None:
    assert not FileBaton(killed_build).try_acquire()  # so torch would wait
    with building():
        baton = FileBaton(killed_build)
        assert baton.try_acquire()
        baton.release()


def test_the_lock_of_a_build_that_goes_on_is_left_alone(killed_build: Path) -> None:
    killed_build.unlink()
    other = "import sys; from launcher.train.step.operators import building\nwith building(): print(flush=True); input()"
    command = [sys.executable, "-c", other]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline()
        killed_build.touch()
        with building():
            assert killed_build.exists()
        builder.communicate(b"\n")
    with building():
        assert not killed_build.exists()
