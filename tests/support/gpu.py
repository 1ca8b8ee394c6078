"""What needs a GPU, and is skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

# torch reads it once, at the first product of a process, which another test may have taken.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

Test = TypeVar("Test", bound=Callable[..., None])


def needs_gpu(test: Test) -> Test:
    """Run the test by `pytest -m gpu` on a machine that has one."""
    skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    return pytest.mark.gpu(skipped(test))


def needs_two_gpus(test: Test) -> Test:
    """The same on a machine that has two."""
    skipped = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs")
    return pytest.mark.gpu(skipped(test))
