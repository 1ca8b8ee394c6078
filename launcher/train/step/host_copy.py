"""The copy of the training state that a checkpoint writes from, in host memory that the next copy uses again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class HostCopy:
    """Copies nested dicts and lists of tensors to the CPU; of one copy at a time, for the next one takes its memory.

    Most of what a first copy costs is memory that the system has to hand out page by page, and on a GPU a transfer into
    memory that isn't pinned. Kept memory is neither.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def take(self, value: Any) -> Any:
        """A copy of `value`, valid until the next call; what is no tensor is passed on as it is."""
        free, used = iter(self._buffers), list[torch.Tensor]()
        copy = self._copy(value, free, used)
        if any(buffer.is_pinned() for buffer in used):
            torch.cuda.synchronize()
        self._buffers = used
        return copy

    def _copy(self, value: Any, free: Iterator[torch.Tensor], used: list[torch.Tensor]) -> Any:
        if isinstance(value, torch.Tensor):
            buffer = next(free, None)
            if buffer is None or not _fits(buffer, value):
                buffer = torch.empty_like(value, device="cpu", requires_grad=False, pin_memory=value.is_cuda)
            used.append(buffer)
            return buffer.copy_(value.detach(), non_blocking=True)
        if isinstance(value, dict):
            return {key: self._copy(item, free, used) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._copy(item, free, used) for item in value]
        return value


def _fits(buffer: torch.Tensor, tensor: torch.Tensor) -> bool:
    return (
        buffer.dtype == tensor.dtype
        and buffer.shape == tensor.shape
        and buffer.stride() == tensor.stride()
        and buffer.is_pinned() == tensor.is_cuda
    )
