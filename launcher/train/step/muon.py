"""Muon on the matrices of the layers, AdamW on everything else, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch

ORTHOGONAL = "orthogonal"
"""Entry of a group: whether Muon updates it."""


class MuonAndAdamW(torch.optim.Optimizer):
    """torch.optim.Muon (Jordan et al., 2024) on the groups that are ORTHOGONAL, torch.optim.AdamW on the others.

    Muon's updates are scaled to the size of AdamW's (Liu et al., 2025, section 2.2), so that one learning rate and one weight
    decay serve both. Momentum is Nesterov's with 0.95. Groups and states are those of the two, under the numbers of this one.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], epsilon: float
    ) -> None:
        super().__init__(groups, {})
        muon = [group for group in self.param_groups if group[ORTHOGONAL]]
        adamw = [group for group in self.param_groups if not group[ORTHOGONAL]]
        # An optimizer takes the groups that it is given, and adds its own settings to them.
        self._both: list[torch.optim.Optimizer] = []
        if muon:
            self._both.append(torch.optim.Muon(muon, lr=lr, adjust_lr_fn="match_rms_adamw"))
        if adamw:
            self._both.append(torch.optim.AdamW(adamw, lr=lr, betas=betas, eps=epsilon, fused=True))
        self._share()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None
        for optimizer in self._both:
            optimizer.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Have both work on the groups and states of this one."""
        for optimizer in self._both:
            orthogonal = isinstance(optimizer, torch.optim.Muon)
            optimizer.param_groups = [g for g in self.param_groups if g[ORTHOGONAL] == orthogonal]
            optimizer.state = self.state
