"""What `launch doctor --engine` shows: families beside each other, and in sentences what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.engine.choice import way_name
from launcher.engine.findings import Finding, Part, Taken

HEAD = ("family", "precision", "checks", "packed", "padded", "other", "a run takes")


@dataclass(frozen=True)
class TriedFamily:
    """A model family as it was tried, and what a training would do."""

    family: str
    precision: str
    finding: Finding
    taken: Taken

    @property
    def faults(self) -> tuple[Part, ...]:
        """What is wrong with it."""
        return tuple(self.finding.wrong())


@dataclass(frozen=True)
class TriedFamilies:
    """Every family."""

    families: tuple[TriedFamily, ...]


def lines(tried: Sequence[TriedFamily]) -> Iterator[str]:
    """The table, then a line for each thing that is wrong."""
    rows = [HEAD, *map(_row, tried)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for each in tried:
        for part in each.faults:
            yield f"WRONG  {each.family}, {each.precision}: {part.name}: {part.text}"


def _row(tried: TriedFamily) -> tuple[str, ...]:
    finding, taken = tried.finding, tried.taken
    right = sum(part.state == "right" for part in finding.parts)
    wrong = len(tried.faults)
    checks = f"{right} right" + (f", {wrong} wrong" if wrong else "")
    times = {name: _ms(finding, name) for name in ("packed", "padded")}
    others = [t for t in finding.timings if t.kernels != "none"]
    other = ", ".join(f"{t.kernels} {1e3 * t.pass_s:.3g} ms" for t in others) or "-"
    return (
        *(tried.family, tried.precision, checks, times["packed"], times["padded"], other),
        way_name(taken.layout, taken.kernels) + ("" if taken.dropout == "cheap" else ", stock dropout"),
    )


def _ms(finding: Finding, layout: str) -> str:
    found = next((t for t in finding.timings if (t.layout, t.kernels) == (layout, "none")), None)
    return "-" if found is None else f"{1e3 * found.pass_s:.3g} ms"
