"""Giving back the memory of a CUDA graph whose capture has failed, which ending the capture doesn't do then.

Saves no time: without it the training runs out of memory later. Tested with torch 2.13. Where the functions are gone the
memory stays taken until the end.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from launcher.train.compat.switch import say_gone


def release(device_index: int, pool: Any) -> None:
    """Tell the allocator that the capture into `pool` is over."""
    native = torch._C
    if not (hasattr(native, "_cuda_endAllocateToPool") and hasattr(native, "_cuda_releasePool")):
        say_gone("torch's release of graph memory", "the memory of a capture that failed stays taken")
        return
    with contextlib.suppress(RuntimeError):
        native._cuda_endAllocateToPool(device_index, pool)
        native._cuda_releasePool(device_index, pool)
