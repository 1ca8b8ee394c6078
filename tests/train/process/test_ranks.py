"""What a process does before the first product of matrices, and what it says where it has no device of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.training import make_run, recipe

from launcher.errors import RunFailed
from launcher.planning.recorded_plan import recorded_plan
from launcher.train.process.heartbeat import Heartbeat
from launcher.train.process.ranks import join

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `join` adds to the environment is taken back."""
    for name in (WORKSPACE, "DS_ACCELERATOR"):
        monkeypatch.setenv(name, "of another test")
        monkeypatch.delenv(name)


def test_whether_products_are_the_same_each_time_is_said_before_the_first(
    tmp_path: Path, tiny_data: Path
) -> None:
    """torch reads it once, and the machine's trial multiplies matrices long before the model does."""
    join(recorded_plan(make_run(tmp_path / "fast", recipe(tiny_data)).plan), Heartbeat())
    assert WORKSPACE not in os.environ
    join(recorded_plan(make_run(tmp_path / "same", recipe(tiny_data, deterministic=True)).plan), Heartbeat())
    assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_torch_s_own_reason_is_told(tmp_path: Path, tiny_data: Path) -> None:
    """A driver too old for this torch looks like no GPU otherwise, as does a torch that was built without CUDA."""
    run = make_run(tmp_path / "run", recipe(tiny_data, device="cuda"))
    with pytest.raises(RunFailed, match=r"torch finds none on this node: .*(CUDA enabled|NVIDIA driver)"):
        join(recorded_plan(run.plan), Heartbeat())
