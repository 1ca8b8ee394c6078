"""The random numbers of dropout."""

from __future__ import annotations

import numpy as np
import torch


def dropout_seed(*numbers: int) -> int:
    """Dropout is a function of numbers such as (seed, step, rank): a resumed run needs no saved generator."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_dropout(device: torch.device, seed: int) -> None:
    """As torch.manual_seed, which also writes down a traceback for each kind of device that isn't there."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
