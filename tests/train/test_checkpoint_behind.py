"""A checkpoint is written behind the training's back: it goes on as soon as the state is copied."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from launcher.run import RunDir
from launcher.train.checkpoint import Checkpoints, TrainState, verify
from launcher.train.distributed import Ranks


class SlowDisk:
    """A strategy whose state is written once the disk is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def save(self, directory: Path) -> Callable[[], None]:
        def write() -> None:
            assert self.let_go.wait(60)
            (directory / "model.pt").write_bytes(b"weights")

        return write


def test_training_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    run, disk = RunDir(tmp_path), SlowDisk()
    checkpoints = Checkpoints(run, Ranks(0, 0, 1, torch.device("cpu")), keep=1)
    checkpoints.save(cast(Any, disk), TrainState(step=3))
    assert not (run.checkpoints / "step_3").exists()  # and yet we are here
    disk.let_go.set()
    checkpoints.wait()
    assert verify(run.checkpoints / "step_3") is None
