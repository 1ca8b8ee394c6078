"""Which ranks were slower than the others, by the metrics of a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from launcher.figures import human_count
from launcher.runs.directory import RunDir
from launcher.runs.events import SLOW
from launcher.runs.metrics import MetricsRow

FEWEST = 50
"""Steps that a rank must be slow for: less may be chance."""


def slow_ranks(run: RunDir, rows: Iterable[MetricsRow]) -> Iterator[str]:
    """A sentence on each rank that was slow for some of the steps."""
    known = [row.figures for row in rows if row.split is None]
    ratios: dict[int, list[float]] = {}
    for figures in known:
        rank, ratio = figures.get("perf/slowest_rank"), figures.get("perf/slowest_ratio")
        if rank is not None and ratio is not None and ratio >= SLOW:
            ratios.setdefault(int(rank), []).append(ratio)
    for rank, found in sorted(ratios.items()):
        if len(found) < FEWEST:
            continue
        part = f"{human_count(len(found))} of {human_count(len(known))} steps"
        times = f"{statistics.median(found):.2f} times slower than the others"
        yield f"rank {rank}{_host(run, rank)} was slow for {part}, {times}."


def _host(run: RunDir, rank: int) -> str:
    """Where it was in the last attempt."""
    attempt = run.last_attempt()
    host = None if attempt is None else attempt.hosts_of_ranks().get(rank)
    return f" on {host}" if host else ""
