"""Time limits as schedulers write them."""

from __future__ import annotations


def minutes(limit: str) -> float:
    """Minutes in a Slurm time limit (MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS)."""
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minute, second = ([*parts, 0, 0])[:3]
    elif len(parts) == 3:
        hours, minute, second = parts
    else:
        hours, (minute, second) = 0, ([*parts, 0])[:2]
    return int(days or 0) * 1440 + hours * 60 + minute + second / 60
