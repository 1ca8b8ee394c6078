"""What a page shows of a sweep: its trainings best first, and the metric over the values of each key."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from launcher import tasks
from launcher.errors import LauncherError
from launcher.figures import human_number
from launcher.report.comparison import REPEATED, Comparison, compare, figures
from launcher.report.markup import escaped, svg
from launcher.report.significance import TEST
from launcher.runs.directory import RunDir
from launcher.visible import shortened

SIDE, HEIGHT = 300, 200
LEFT, TOP = 54, 26
MOST_VALUES = 12


@dataclass(frozen=True)
class Trials:
    """Several runs of one metric, compared."""

    metric: str
    rows: Sequence[Comparison]
    values: Mapping[str, float]
    """The metric of each run, negative where higher is better: the least is the best."""

    @property
    def cells(self) -> Iterator[Sequence[str]]:
        """Of each row: runs, metric, difference to the best, test."""
        for row in self.rows:
            far = row.against_best
            against = "" if far is None else f"{far.mean:+.4f}, p {far.p:.2g}"
            yield row.name, _spread(row.best), against, "-" if row.test is None else _spread(row.test)

    @property
    def note(self) -> str:
        """Which test p is of, where there is one."""
        return f"p: {TEST}, against the first row." if any(row.against_best for row in self.rows) else ""


def _spread(found: object) -> str:
    mean, deviation = getattr(found, "mean", None), getattr(found, "deviation", None)
    return human_number(mean) + ("" if deviation is None else f" ± {deviation:.4f}")


def trials_of(runs: Sequence[RunDir]) -> Trials | None:
    """The comparison of those runs that have an evaluated model, None where it makes no sense."""
    known = []
    for run in runs:
        try:
            known.append(figures(run, None, ""))
        except LauncherError:
            continue
    if len(known) < 2 or len({each.metric for each in known}) > 1:
        return None
    metric = known[0].metric
    sign = -1.0 if tasks.named(known[0].task).higher_is_better(metric) else 1.0
    return Trials(metric, compare(known), {each.run_id: sign * each.best for each in known})


def effects(
    metric: str, best: Sequence[float | None], differences: Sequence[tuple[str, Sequence[str]]]
) -> Iterator[tuple[str, str]]:
    """(key, svg) for each key in which runs differ: a dot for each run, a line at the mean of each value."""
    for key, values in differences:
        groups: dict[str, list[float]] = {}
        for value, figure in zip(values, best, strict=True):
            if figure is not None:
                groups.setdefault(value, []).append(figure)
        if 2 <= len(groups) <= MOST_VALUES and key not in REPEATED:
            yield key, _effect(f"{metric} by {key}", dict(sorted(groups.items(), key=_in_order)))


def _in_order(group: tuple[str, Sequence[float]]) -> tuple[float, str]:
    """Numbers by their size, behind them what is no number."""
    try:
        return float(group[0]), ""
    except ValueError:
        return math.inf, group[0]


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """The multiples of 1, 2 or 5 times a power of ten between two figures, 2 to 5 of them, each as it is written."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if 4 * step >= high - low)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(place * step, f"{place * step:.{decimals}f}") for place in places]


def _effect(title: str, groups: Mapping[str, Sequence[float]]) -> str:
    every = [figure for group in groups.values() for figure in group]
    low, high = min(every), max(every)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def place(figure: float) -> float:
        return TOP + HEIGHT * (high - figure) / (high - low)

    parts = [f'<text x="{LEFT}" y="14" font-size="13" fill="var(--text)">{escaped(title)}</text>']
    for figure, written in ticks(low, high):
        parts.append(f'<path d="M{LEFT} {place(figure):.1f}h{SIDE}" stroke="var(--line)"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{place(figure) + 4:.1f}" font-size="11" fill="var(--text)" text-anchor="end">'
            f"{written}</text>"
        )
    step = SIDE / len(groups)
    for index, (value, found) in enumerate(groups.items()):
        x, mean = LEFT + step * (index + 0.5), statistics.fmean(found)
        parts.append(
            f'<path d="M{x - step * 0.3:.1f} {place(mean):.1f}h{step * 0.6:.1f}" stroke="var(--c1)" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{place(figure):.1f}" r="4" fill="var(--c0)" fill-opacity="0.7">'
            f"<title>{figure:.4f}</title></circle>"
            for figure in found
        ]
        name = shortened(value, max(4, int(step / 6.5)))
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" font-size="11" fill="var(--text)" text-anchor="middle">'
            f"{escaped(name)}</text>"
        )
    return svg(LEFT + SIDE + 10, TOP + HEIGHT + 26, parts, title)
