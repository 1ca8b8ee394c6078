"""Numbers as people read them: bytes, durations, counts and metrics."""

from __future__ import annotations


def human_bytes(count: int | None) -> str:
    """Bytes in the unit that reads best (GiB, MiB, KiB), or `unknown`."""
    if count is None:
        return "unknown"
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def human_seconds(seconds: float | None) -> str:
    """A duration such as `8 s`, `3 min 20 s`, `2 h 05 min`, or `unknown`."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def human_count(count: int | None) -> str:
    """An integer with thousands separated, or `unknown`."""
    return "unknown" if count is None else f"{count:,}"


def quantity(count: int, noun: str) -> str:
    """`1 run`, `2 runs`, `1,200 classes`: a count with its noun, in the plural where it isn't one."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def human_number(value: object) -> str:
    """A metric: four significant decimals for floats, NaN and null as `-`."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def moment(unix_s: float) -> str:
    """A time in Unix seconds as a local date and time."""
    import datetime as dt

    return f"{dt.datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M}"


def human_milliseconds(seconds: float) -> str:
    """A short time in milliseconds, three digits of it."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
