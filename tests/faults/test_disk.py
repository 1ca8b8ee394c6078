"""A disk that fills up while a run trains: the run fails by name, and goes on once there is space again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.dying_disk import DyingDisk, Loss
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
    # A save that was under way when the disk was full gives its room back, so that the cause can still be written.
    assert "could not be written" in said or "lost" in said or "it goes on from" in said, said
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


@pytest.mark.parametrize(
    ("loss", "ranks", "cause"),
    [("errs", 1, "storage"), ("read-only", 1, "disk"), ("read-only", 2, "disk"), ("gone", 2, "storage")],
)
@pytest.mark.long
@pytest.mark.fault(17)
def test_the_disk_is_lost(
    start: Start, tmp_path: Path, loss: Loss, ranks: int, cause: str, happened: Seen
) -> None:
    """Nothing can be written any more, not even how the run ended: exit codes tell, and so do those who ask.

    What the system has no longer in memory can't be read, either; then that is what is said.
    """

    def is_told(words: str) -> bool:
        unread = f"can't be read: {os.strerror(errno.EIO)}" in words
        return loss == "gone" or unread or re.search(rf"cause +{cause} ", words) is not None

    with DyingDisk(tmp_path / "disk", loss) as disk:
        training = start(*RECIPE, f"gpus={ranks}", "run_id=r", directory=disk.place)
        training.wait_for_step(12)
        for rank in range(ranks):  # none writes while the disk errs already, and is not read-only yet
            training.kill(rank, signal.SIGSTOP)
        disk.die()
        for rank in range(ranks):
            training.kill(rank, signal.SIGCONT)
        said = training.end(code=1)
        assert is_told(said), said
        for verb in ("status", "resume"):
            code, words = asked(verb, "r", directory=disk.place)
            print(loss, verb, code, words)
            assert "Traceback" not in words, words
            assert verb != "resume" or code not in (0, 75), words
            assert verb != "status" or is_told(words), words
    who = {1: "one rank", 2: "two ranks"}[ranks]
    happened(
        f"{who} on a disk that {LOST[loss]}: named `{cause}`, by exit codes where nothing could be written"
    )


LOST = {"errs": "errs at every block", "read-only": "becomes read-only", "gone": "refuses to be read, too"}


def asked(*words: str, directory: Path) -> tuple[int, str]:
    """Exit code of a `launch` command, and all that it printed."""
    command = [sys.executable, "-m", "launcher", *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def fill(disk: Path, left: int) -> None:
    """Take all space but so many bytes."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - left)
