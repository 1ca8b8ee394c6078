"""Autocast: the one place that says in which number format a forward pass is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from launcher.train.compat.laid_out_weights import laid_out_weights

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> Any:
    """A context manager for forward passes in `precision` (bf16, fp16 or fp32); it does nothing in fp32."""
    return torch.autocast(
        device.type,
        dtype=AUTOCAST_DTYPES.get(precision, torch.bfloat16),
        enabled=precision in AUTOCAST_DTYPES,
    )


@contextmanager
def keeping_weights(device: torch.device) -> Iterator[None]:
    """Within it weights, which must stay what they are, are cast and laid out once for all forward passes, not for each.

    What was cast is given up where the outermost autocast ends: so one that casts nothing is around the others.
    """
    with torch.autocast(device.type, enabled=False), laid_out_weights(device):
        yield
