"""A disk that is lost under those who use it: ext4 on a loop device."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import pytest
from support.waiting import wait_until

Loss = Literal["errs", "read-only", "gone"]
"""Blocks that weren't in use yet can't be written; Linux has noticed and lets nobody write; nothing can be read, either."""
BYTES = 64 << 20
_SHUTDOWN = 0x8004587D
_AT_ONCE = struct.pack("I", 2)


class DyingDisk:
    """A file system of its own, until it is lost."""

    def __init__(self, place: Path, loss: Loss) -> None:
        self.place = place
        self._loss = loss
        self._image = place.with_suffix(".img")
        self._features = "has_journal" if loss == "read-only" else "^has_journal"
        self._device: str | None = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("mounting a disk needs root")
        self.place.mkdir()
        self._image.write_bytes(b"")
        os.truncate(self._image, BYTES)
        _do(["mkfs.ext4", "-q", "-F", "-O", self._features, str(self._image)])
        found = subprocess.run(
            ["losetup", "--find", "--show", str(self._image)], capture_output=True, text=True, check=False
        )
        if found.returncode:
            pytest.skip(f"no loop device is to be had: {found.stderr}")
        self._device = found.stdout.strip()
        journal = ",commit=1" if self._loss == "read-only" else ""
        _do(["mount", "-o", f"errors=continue{journal}", self._device, str(self.place)])
        return self

    def die(self) -> None:
        """Lose it; what others have read of it stays in memory."""
        if self._loss == "gone":
            opened = os.open(self.place, os.O_RDONLY)
            fcntl.ioctl(opened, _SHUTDOWN, _AT_ONCE)
            os.close(opened)
            return
        os.truncate(self._image, 4096)
        _do(["losetup", "--set-capacity", str(self._device)])
        if self._loss == "read-only":
            wait_until(self._is_read_only, "the journal to be given up")

    def _is_read_only(self) -> bool:
        try:
            (self.place / "touched").write_bytes(os.urandom(8))
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def __exit__(self, *_: object) -> None:
        if self._device is not None:
            _do(["umount", "--lazy", str(self.place)])
            _do(["losetup", "--detach", self._device])


def _do(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)
