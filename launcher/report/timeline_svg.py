"""The attempts of a run over time, as a picture."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from launcher.figures import human_seconds
from launcher.report.markup import escaped, svg
from launcher.runs.attempts import Attempt
from launcher.visible import shortened

WIDTH, ROW = 640, 24
LEFT, RIGHT = 34, 150
COLOURS = {
    "completed": "--good",
    "failed": "--bad",
    "cancelled": "--bad",
    "stopped": "--warn",
    "interrupted": "--warn",
}


def timeline(attempts: Sequence[Attempt], causes: Sequence[str]) -> str:
    """A bar from start to end of each attempt, its outcome beside it; empty where none has both."""
    known = [
        (each, cause, each.started_at, each.ended_at or each.started_at)
        for each, cause in zip(attempts, causes, strict=True)
        if each.started_at is not None
    ]
    if len(known) < 2:
        return ""
    start, end = min(each[2] for each in known), max(each[3] for each in known)
    scale = (WIDTH - LEFT - RIGHT) / max(end - start, 1e-9)
    parts = []
    for index, (attempt, cause, begun, over) in enumerate(known):
        x, y = LEFT + (begun - start) * scale, 6 + ROW * index
        width = max((over - begun) * scale, 3)
        status = attempt.status or "unfinished"
        said = f"{status}: {cause}" if cause else status
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" font-size="12" fill="var(--text)" text-anchor="end">{attempt.number}</text>'
            f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{ROW - 8}" rx="3" '
            f'fill="var({COLOURS.get(status, "--soft")})"><title>{escaped(said)}, {human_seconds(over - begun)}</title></rect>'
            f'<text x="{x + width + 6:.1f}" y="{y + 13}" font-size="12" fill="var(--text)">{escaped(shortened(said, 24))}</text>'
        )
    below = 6 + ROW * len(known) + 14
    parts.append(_moment(LEFT, below, start, "start"))
    parts.append(_moment(WIDTH - RIGHT, below, end, "end"))
    return svg(WIDTH, below + 6, parts, "Attempts over time")


def _moment(x: float, y: float, unix_s: float, anchor: str) -> str:
    text = f"{dt.datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"
    return f'<text x="{x:.1f}" y="{y}" font-size="11" fill="var(--soft)" text-anchor="{anchor}">{text}</text>'
