"""Having a fused optimizer leave out a step whose gradient is not finite by itself, so that the host need not wait.

On a GPU the host can then run a step ahead; on CPU it buys nothing. Tested with torch 2.13. Where the optimizer isn't fused,
or under LAUNCH_COMPAT=off, the host reads the norm and decides; so it does where a fused one doesn't know how, which is said.
"""

from __future__ import annotations

import torch

from launcher.train.compat.switch import saves_time, say_gone

NAME = "_step_supports_amp_scaling"


def step_if_finite(optimizer: torch.optim.Optimizer, norm: torch.Tensor) -> bool:
    """Take the step on the device where `norm` is finite; False where this optimizer can't, and nothing is done."""
    if not saves_time() or not optimizer.defaults.get("fused"):
        return False
    if not getattr(optimizer, NAME, False):
        say_gone(f"{type(optimizer).__name__}.{NAME}", "the host waits for the norm of every step")
        return False
    optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
    optimizer.step()
    return True
