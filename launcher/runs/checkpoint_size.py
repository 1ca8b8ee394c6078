"""How large a checkpoint is."""

from __future__ import annotations

WEIGHT_BYTES = 4
"""Of a parameter, which is fp32 in checkpoints and in the best model."""


def checkpoint_bytes(trained: int | None, optimizer: int | None, shards: int) -> int | None:
    """Bytes of a checkpoint of that many trained parameters, whose optimizer takes `optimizer` bytes on each of `shards`
    ranks, as for Adam where that is unknown or 0, since it is offloaded; None where the model's shape is unknown."""
    if trained is None:
        return None
    return WEIGHT_BYTES * trained + (optimizer * shards if optimizer else 2 * WEIGHT_BYTES * trained)
