"""Which ranks were slower than the others, by the metrics of a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from launcher.figures import human_count
from launcher.runs.columns import Columns
from launcher.runs.directory import RunDir
from launcher.runs.events import SLOW

FEWEST = 50
"""Steps that a rank must be slow for: less may be chance."""


def slow_ranks(run: RunDir, columns: Columns) -> Iterator[str]:
    """A sentence on each rank that was slow for some of the steps."""
    ratios: dict[int, list[float]] = {}
    for rank, ratio in zip(*map(columns.figure, ("perf/slowest_rank", "perf/slowest_ratio")), strict=True):
        if rank == rank and ratio >= SLOW:  # neither is NaN
            ratios.setdefault(int(rank), []).append(ratio)
    for rank, found in sorted(ratios.items()):
        if len(found) < FEWEST:
            continue
        part = f"{human_count(len(found))} of {human_count(len(columns.steps))} steps"
        times = f"{statistics.median(found):.2f} times slower than the others"
        yield f"rank {rank}{_host(run, rank)} was slow for {part}, {times}."


def _host(run: RunDir, rank: int) -> str:
    """Where it was in the last attempt."""
    attempt = run.last_attempt()
    host = None if attempt is None else attempt.hosts_of_ranks().get(rank)
    return f" on {host}" if host else ""
