"""Steps whose loss stands out from those before it: each is told with the examples of its batch, which can be looked at."""

from __future__ import annotations

import statistics
from collections import deque

KEPT = 50
"""Losses that a new one is held against."""
FEWEST = 20
"""With fewer nothing stands out yet."""
SPREADS = 10
"""Times the median distance from the median that a loss must lie above it, and ..."""
SHARE = 0.5
"""... the share of the median."""
MOST = 20
"""Spikes of an attempt that are told."""
MOST_EXAMPLES = 256
"""Examples of a batch that are told."""


class LossSpikes:
    """The losses of the newest steps, as the training reads them anyway."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=KEPT)
        self._told = 0

    def usual_if_spike(self, loss: float) -> float | None:
        """Take up the next loss: the median of those before it where it stands out, or is no number, else None."""
        if self._told >= MOST:
            return None
        before = list(self._newest)
        if loss == loss:
            self._newest.append(loss)
        if len(before) < FEWEST:
            return None
        usual = statistics.median(before)
        spread = statistics.median(abs(each - usual) for each in before)
        if loss <= usual + max(SPREADS * spread, SHARE * abs(usual)):
            return None
        self._told += 1
        return usual
