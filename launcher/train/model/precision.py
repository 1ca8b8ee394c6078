"""Autocast: the one place that says in which number format a forward pass is computed."""

from __future__ import annotations

from typing import Any

import torch

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> Any:
    """A context manager for forward passes in `precision` (bf16, fp16 or fp32); it does nothing in fp32."""
    return torch.autocast(
        device.type,
        dtype=AUTOCAST_DTYPES.get(precision, torch.bfloat16),
        enabled=precision in AUTOCAST_DTYPES,
    )


def keeping_casts(device: torch.device) -> Any:
    """Within it autocast casts weights, which must stay what they are, once for all forward passes, not once for each.

    What was cast is given up where the outermost context ends, and this one, which casts nothing, is around the others.
    """
    return torch.autocast(device.type, enabled=False)
