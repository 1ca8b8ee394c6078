"""Values of typed files (parquet, data sets of the hub) as the plain ones that rows hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

PLAIN = (str, int, type(None))
"""Types that stay as they are, bool among them."""


def plain(value: Any) -> Any:
    """A cell as text, number, list, object or None; no value becomes text that isn't written as text.

    Bytes are decoded where they are UTF-8, decimals become numbers, dates and times ISO 8601 text, NaN an empty cell.
    Whatever else there is becomes an object that names its type, which fits no task.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return {"type": type(value).__name__}


def _number(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _decoded(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"type": "bytes", "length": len(value)}
