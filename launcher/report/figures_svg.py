"""Pictures of an evaluation as svg: a confusion matrix and a reliability diagram, for a page or a file of their own.

Colours come from the page's style where there is one; a file of its own has them written in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.report.markup import escaped, svg
from launcher.runs.examination import Calibration, Confusion
from launcher.visible import columns_of, shortened, visible

MOST_NUMBERED = 25
"""Classes up to which each cell has its number."""
MOST_DRAWN = 100
MOST_NAME = 16
ALONE = (
    "--text:#1b1f24;--soft:#57606a;--line:#d0d7de;--back:#ffffff;--c0:#0550ae;--c1:#c2510c;background:#fff"
)
"""Style of a picture in a file of its own."""


def confusion_svg(confusion: Confusion, title: str, *, alone: bool = False) -> str:
    """Rows are true classes, columns predicted ones; a cell is the darker the larger its share of its row."""
    names = [_short(name) for name in confusion.names[:MOST_DRAWN]]
    size = len(names)
    cell = 44 if size <= 8 else 30 if size <= MOST_NUMBERED else max(6, 720 // size)
    letters = min(11, cell)
    margin = 14 + letters * max(map(_ems, names))
    width = max(margin + cell * size + 10, 12 * _ems(title) + 8, 200)
    parts = [_text(4, 14, title, 13, "start")]
    parts += _names(names, margin, cell, letters)
    parts += _cells(confusion, size, margin, cell)
    return svg(width, margin + 20 + cell * size + 24, parts, title, ALONE if alone else "")


def reliability_svg(calibration: Calibration, title: str, *, alone: bool = False) -> str:
    """Accuracy over confidence, and how many predictions are so confident; on the diagonal a model means what it says."""
    side, left, top = 240, 44, 26
    parts = [_text(left, 14, title, 13, "start")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + side * tick, top + side * (1 - tick)
        parts.append(
            f'<path d="M{left} {y:.1f}h{side}M{x:.1f} {top}v{side}" stroke="var(--line)" fill="none"/>'
        )
        parts.append(_text(left - 6, y + 4, f"{tick:g}", 11, "end"))
        parts.append(_text(x, top + side + 16, f"{tick:g}", 11, "middle"))
    total = sum(each.count for each in calibration.bins)
    across, up = calibration.axes
    for each in calibration.bins:
        x, height = left + side * min(int(each.confidence * 10), 9) / 10, side * each.accuracy
        hint = f"{across} {each.confidence:.3f}, {up} {each.accuracy:.3f}, {each.count} {calibration.of}"
        opacity = 0.3 + 0.7 * each.count / total
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{top + side - height:.1f}" width="{side / 10 - 2:.1f}" height="{height:.1f}" '
            f'fill="var(--c0)" fill-opacity="{opacity:.2f}"><title>{hint}</title></rect>'
        )
        parts.append(
            f'<circle cx="{left + side * each.confidence:.1f}" cy="{top + side * (1 - each.accuracy):.1f}" r="3.5" '
            f'fill="var(--c1)"><title>{hint}</title></circle>'
        )
    parts.append(
        f'<path d="M{left} {top + side}L{left + side} {top}" stroke="var(--soft)" stroke-dasharray="4 4"/>'
    )
    parts.append(_text(left + side / 2, top + side + 34, across, 12, "middle"))
    parts.append(
        f'<text x="12" y="{top + side / 2}" font-size="12" fill="var(--text)" text-anchor="middle" '
        f'transform="rotate(-90 12 {top + side / 2})">{up}</text>'
    )
    width = left + max(side + 12, 12 * _ems(title) + 8)
    return svg(width, top + side + 44, parts, title, ALONE if alone else "")


def _names(names: Sequence[str], margin: float, cell: int, letters: int) -> Iterator[str]:
    for index, name in enumerate(names):
        middle = margin + cell * (index + 0.5)
        y = 20 + middle + letters / 3
        yield _text(margin - 6, y, name, letters, "end")
        x, top = middle + letters / 3, margin + 14
        yield (
            f'<text x="{x:.1f}" y="{top:.1f}" font-size="{letters}" fill="var(--text)" '
            f'transform="rotate(-90 {x:.1f} {top:.1f})">{escaped(name)}</text>'
        )
    below = margin + 20 + cell * len(names) + 16
    yield _text(4, below, "rows: true, columns: predicted", 11, "start")


def _cells(confusion: Confusion, size: int, margin: float, cell: int) -> Iterator[str]:
    is_numbered = size <= MOST_NUMBERED
    if not is_numbered:  # the thousands of cells in which nothing is are one area
        side, x, y = cell * size - 1, margin, margin + 20
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{side}" height="{side}" fill="var(--c1)" fill-opacity="0.04"/>'
    for row, counts in enumerate(confusion.counts[:size]):
        total = sum(counts) or 1
        for column, count in enumerate(counts[:size]):
            if not (count or is_numbered):
                continue
            x, y, share = margin + cell * column, margin + 20 + cell * row, count / total
            colour = "--c0" if row == column else "--c1"
            names = escaped(
                f"{confusion.names[row]} taken for {confusion.names[column]}: {count} ({share:.1%})"
            )
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" fill="var({colour})" '
                f'fill-opacity="{0.04 + 0.9 * share:.3f}"><title>{names}</title></rect>'
            )
            if is_numbered and count:
                ink = "var(--back)" if share > 0.7 else "var(--text)"
                yield _text(
                    x + cell / 2, y + cell / 2 + 4, f"{count}", 11 if count < 1000 else 9, "middle", ink
                )


def _text(x: float, y: float, text: str, size: float, anchor: str, ink: str = "var(--text)") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{ink}" text-anchor="{anchor}">{escaped(text)}</text>'


def _short(name: str) -> str:
    return shortened(visible(name), MOST_NAME, in_the_middle=True)


def _ems(text: str) -> float:
    """How wide a text is at most, by the size of its letters: those of Chinese, Japanese and Korean are as wide as high."""
    return 0.62 * len(text) + 0.38 * (columns_of(text) - len(text))
