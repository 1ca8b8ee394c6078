"""A disk that fills up while a run trains: the run fails by name, and goes on once there is space again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE, Training, error_of
from support.system_calls import refused, require_strace
from support.training import losses

from launcher.runs.directory import read_result

Start = Callable[..., Training]
Undisturbed = Callable[[int], list[float]]

MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("left", [64 * 1024, 0])
@pytest.mark.fault(17)
def test_the_disk_fills_up(start: Start, undisturbed: Undisturbed, disk: Path, left: int) -> None:
    """A checkpoint finds no room, or nothing does: not the next line of metrics, nor the words on how it ended."""
    training = start(*RECIPE, "gpus=1", "run_id=r", directory=disk)
    training.wait_for_step(20)
    fill(disk, left)
    said = training.end(code=1)
    assert "free space" in said
    if left:
        assert error_of(training.run)["class"] == "checkpoint"
        assert "No space left on device" in said

    (disk / "ballast").unlink()
    assert "resuming from step_" in start("resume", "r", directory=disk).end(code=0)
    assert losses(training.run) == undisturbed(1)


@pytest.mark.fault(17)
def test_the_disk_errs(start: Start, undisturbed: Undisturbed, happened: Seen) -> None:
    """EIO from an fsync of a save: named as the storage's fault, and tried again by another process."""
    require_strace()
    training = start(*RECIPE, "gpus=1", "run_id=r")
    training.wait_for_step(10)
    process = training.process_of(0)
    training.kill(0, signal.SIGSTOP)
    with refused(process, "fsync", "EIO"):
        os.kill(process, signal.SIGCONT)
        training.wait_until(lambda: len(training.run.attempt_numbers()) > 1, "the next attempt")
    said = training.end(code=0)
    first = read_result(training.run.attempt(1).result)
    assert first is not None
    assert first.error is not None
    assert first.error.kind == "storage"
    assert "Input/output error" in said
    assert losses(training.run) == undisturbed(1)
    happened("EIO from the fsync of a save: named `storage`, and another attempt went on to the same losses")


def fill(disk: Path, left: int) -> None:
    """Take all space but so many bytes."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - left)
