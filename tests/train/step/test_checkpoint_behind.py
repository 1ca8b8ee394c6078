"""A checkpoint is written behind the training's back: it goes on as soon as the state is copied."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from launcher.runs.directory import RunDir
from launcher.train.process.ranks import Ranks
from launcher.train.step.checkpoints import Checkpoints, TrainState, verify
from launcher.train.step.host_copy import HostCopy


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


def test_the_next_copy_of_the_state_is_made_in_the_memory_of_the_last() -> None:
    host, weight, turned = HostCopy(), torch.randn(4, 3), torch.randn(4, 3).t()
    before = host.take({"model": {"weight": weight}, "optimizer": [turned, 7]})
    weight.add_(1)
    after = host.take({"model": {"weight": weight}, "optimizer": [turned, 8]})
    assert after["model"]["weight"].data_ptr() == before["model"]["weight"].data_ptr() != weight.data_ptr()
    assert torch.equal(after["model"]["weight"], weight)
    assert torch.equal(after["optimizer"][0], turned)
    assert after["optimizer"][1] == 8


def test_a_copy_of_another_shape_gets_its_own_memory() -> None:
    host = HostCopy()
    host.take([torch.zeros(3)])
    wide = torch.randn(5)
    [copy] = host.take([wide])
    assert torch.equal(copy, wide)
