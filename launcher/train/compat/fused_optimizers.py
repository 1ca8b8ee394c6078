"""Having a fused optimizer leave out a step whose gradient is not finite by itself, so that the host need not wait.

On a GPU the host can then run a step ahead. Tested with torch 2.13. Where the optimizer doesn't know how, or under
LAUNCH_COMPAT=off, the host reads the norm and decides.
"""

from __future__ import annotations

import torch

from launcher.train.compat.switch import saves_time


def step_if_finite(optimizer: torch.optim.Optimizer, norm: torch.Tensor) -> bool:
    """Take the step on the device where `norm` is finite; False where this optimizer can't, and nothing is done."""
    if not saves_time() or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return False
    optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
    optimizer.step()
    return True
