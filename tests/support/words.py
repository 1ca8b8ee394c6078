"""Words of the command line that tests share."""

from __future__ import annotations

SMALLEST = (
    "recipe=smoke",
    "device=cpu",
    "model.scratch.hidden=16",
    "model.scratch.layers=1",
    "model.scratch.vocab=200",
    "data.max_length=16",
    "data.limit=64",
    "batch.global=8",
)
"""A training of a few seconds: most of them are imports."""
