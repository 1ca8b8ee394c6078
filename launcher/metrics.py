"""Which way each metric is better."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset({"loss", "mse", "mae", "rmse", "perplexity"})


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of this metric means a better model."""
    return metric not in LOWER_IS_BETTER
