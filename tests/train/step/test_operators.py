"""The place where DeepSpeed's operators are compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from launcher.errors import RunFailed
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


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("said", "name", "remedy"),
    [
        (
            "Unable to JIT load the async_io op due to it not being compatible due to hardware/software issue. None",
            "async_io",
            "libaio-dev",
        ),
        (
            "Error building extension 'deepspeed_shm_comm': ninja: c++: not found",
            "deepspeed_shm_comm",
            "C++ compiler",
        ),
    ],
)
@pytest.mark.usefixtures("killed_build")
def test_an_operator_that_can_not_be_compiled(said: str, name: str, remedy: str) -> None:
    with pytest.raises(RunFailed, match=f"operator {name} can't be compiled") as failed, building():
        raise RuntimeError(said)
    assert failed.value.error_class == "launch"
    assert remedy in str(failed.value.remedy)


@pytest.mark.usefixtures("killed_build")
def test_other_errors_are_their_own() -> None:
    with pytest.raises(RuntimeError, match="the size of tensor a"), building():
        raise RuntimeError("the size of tensor a must match")
