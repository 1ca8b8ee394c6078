"""A curve drawn with braille characters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots of a braille character: four rows, two columns."""
BLANK = 0x2800
Place = tuple[int, int]
"""A dot: columns from the left, rows from the top."""
LABEL = 9
"""Columns of the numbers at the left."""


def chart(steps: Sequence[int], values: Sequence[float | None], width: int, height: int) -> list[str]:
    """`height` lines of `width` columns: the curve, numbers at its left, the first and last step below.

    Many steps share a column, which then has a dot for each; few are joined by lines. What is no number is left out, and
    leaves a gap.
    """
    points = [
        (step, value if value is not None and math.isfinite(value) else None)
        for step, value in zip(steps, values, strict=True)
    ]
    known = [(step, value) for step, value in points if value is not None]
    columns, rows = width - LABEL - 1, height - 1
    if not known or columns < 2 or rows < 1:
        return ["nothing yet"[:width], *[""] * (height - 1)][: max(height, 1)]
    low, high = min(value for _, value in known), max(value for _, value in known)
    first, last = known[0][0], max(step for step, _ in known)
    cells = [[BLANK] * columns for _ in range(rows)]
    before: Place | None = None
    for step, value in points:
        if value is None:
            before = None
            continue
        x = round((step - first) / max(last - first, 1) * (2 * columns - 1))
        y = round((high - value) / ((high - low) or 1.0) * (4 * rows - 1))
        for across, down in _line(before or (x, y), (x, y)):
            cells[down // 4][across // 2] |= DOTS[down % 4][across % 2]
        before = x, y
    labels = [""] * rows
    labels[0], labels[-1] = _number(high), _number(low) if rows > 1 else _number(high)
    lines = [f"{label:>{LABEL}} {''.join(map(chr, row))}" for label, row in zip(labels, cells, strict=True)]
    end = f"{last:,}"
    lines.append(f"{'step':>{LABEL}} {f'{first:,}':<{max(columns - len(end), 0)}}{end}"[:width])
    return lines


def _line(start: Place, end: Place) -> Iterator[Place]:
    """The dots from behind `start` to `end`; the last alone where they stand above each other."""
    across, down = end[0] - start[0], end[1] - start[1]
    count = max(across, abs(down)) if across > 0 else 1
    for number in range(1, count):
        share = number / count
        yield start[0] + round(across * share), start[1] + round(down * share)
    yield end


def _number(value: float) -> str:
    return f"{value:.4g}"[:LABEL]
