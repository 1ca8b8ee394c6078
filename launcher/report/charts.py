"""The charts of a page: one run with all of its curves, or several on top of each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from launcher.figures import human_number
from launcher.report.curves import Curve
from launcher.report.story import Story
from launcher.visible import shortened, visible

TOGETHER = 4
"""Runs whose losses in training and on the validation data share a frame."""
BETWEEN = re.compile(r"[_,=]|(?<![0-9])\.|\.(?![0-9])|(?<![0-9]e)-")
"""What stands between the parts of a run's name, and within no number."""
MOST_LETTERS = 32
"""Letters of a run's name beside a curve."""


@dataclass(frozen=True)
class Line:
    """One curve in a chart."""

    label: str
    curve: Curve
    colour: int
    points: bool = False
    dashed: bool = False

    def tree(self) -> dict[str, Any]:
        """As the page's script reads it."""
        style = {
            "label": visible(self.label),
            "colour": self.colour,
            "points": self.points,
            "dashed": self.dashed,
        }
        return style | self.curve.tree()


@dataclass(frozen=True)
class Chart:
    """Curves over the steps in one frame."""

    title: str
    lines: tuple[Line, ...]
    log: bool = False
    exact: bool = False
    """Whether it is drawn as it is, however smooth the others are."""

    @property
    def description(self) -> str:
        """What the chart shows, for those who don't see it."""
        return f"{self.title}. " + " ".join(map(_described, self.lines))

    def tree(self) -> dict[str, Any]:
        """As the page's script reads it."""
        lines = [line.tree() for line in self.lines]
        return {"title": visible(self.title), "log": self.log, "exact": self.exact, "series": lines}


def _described(line: Line) -> str:
    known = [value for value in line.curve.values if value is not None]
    if not known:
        return f"{line.label}: nothing."
    first, last, least, most = map(human_number, (known[0], known[-1], min(known), max(known)))
    return (
        f"{line.label}: from {first} to {last} at step {line.curve.steps[-1]:,}, between {least} and {most}."
    )


def names_of(run_ids: Sequence[str]) -> dict[str, str]:
    """What each run is called where there is little room: what tells it from the others, shortened in its middle."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(run_ids), max(run_ids), strict=False))
    begin = "".join(letter for letter, _ in alike) if len(run_ids) > 1 else ""
    ends = [found.end() for found in BETWEEN.finditer(begin)]
    begin = begin[: ends[-1]] if ends and min(map(len, run_ids)) > len(begin) else ""
    rest = {run_id: run_id.removeprefix(begin) for run_id in run_ids}
    short = {run_id: shortened(name, MOST_LETTERS, in_the_middle=True) for run_id, name in rest.items()}
    return short if len(set(short.values())) == len(short) else rest


def charts_of(stories: Sequence[Story]) -> Iterator[Chart]:
    """Loss first, then the metric that chooses, other metrics of a single run, rates and speed."""
    alone = len(stories) == 1
    loss = _lines(stories, "train/loss", "training" if alone else "")
    if len(stories) <= TOGETHER:
        yield from _chart("Loss", [*loss, *_validation_loss(stories)])
    else:
        yield from _chart("Loss", loss)
        yield from _chart("Loss on the validation data", _evaluated(stories, "loss", solid=True))
    metric = stories[0].metric
    if metric != "loss":
        yield from _chart(f"{metric} on the validation data", _evaluated(stories, metric, solid=True))
    if alone:
        others = [name for name in stories[0].metric_names if name not in (metric, "loss")]
        lines = [
            Line(name, curve, index, points=True)
            for index, name in enumerate(others)
            if (curve := stories[0].curves.evaluated(name)) is not None
        ]
        yield from _chart("Other metrics on the validation data", lines)
    for key, title in (
        ("train/lr", "Learning rate"),
        ("train/grad_norm", "Gradient norm"),
        ("perf/examples_per_s", "Examples a second"),
        ("perf/tokens_per_s", "Tokens a second"),
    ):
        lines = _lines(stories, key, title.lower() if alone else "")
        yield from _chart(title, lines, exact=key == "train/lr")
    if any(story.padding for story in stories):
        title = "Padding, as a share of the positions computed"
        yield from _chart(title, _lines(stories, "perf/padding", "padding" if alone else ""))
    if alone:
        yield from _machines(stories[0])


def _machines(story: Story) -> Iterator[Chart]:
    """What was recorded of the machines, figures of one kind in one frame."""
    for title, nodes in story.machines.items():
        yield from _chart(
            title, [Line(node, curve, index) for index, (node, curve) in enumerate(nodes.items())]
        )


def _chart(title: str, lines: Sequence[Line], *, exact: bool = False) -> Iterator[Chart]:
    if lines:
        yield Chart(title, tuple(lines), exact=exact)


def _lines(stories: Sequence[Story], key: str, label: str) -> list[Line]:
    names = names_of([story.run_id for story in stories])
    return [
        Line(label or names[story.run_id], story.curves.train[key], index)
        for index, story in enumerate(stories)
        if key in story.curves.train
    ]


def _validation_loss(stories: Sequence[Story]) -> list[Line]:
    """The loss on the validation data beside training's own: another colour of one run, dashed for several."""
    lines = _evaluated(stories, "loss", solid=False)
    if len(stories) == 1:
        return [Line("validation", line.curve, 1, points=True) for line in lines]
    return lines


def _evaluated(stories: Sequence[Story], metric: str, *, solid: bool) -> list[Line]:
    found = [(index, story, story.curves.evaluated(metric)) for index, story in enumerate(stories)]
    names, split = names_of([story.run_id for story in stories]), "" if solid else ", validation"
    return [
        Line(
            f"{names[story.run_id]}{split}" if len(stories) > 1 else metric,
            curve,
            index,
            points=True,
            dashed=not solid,
        )
        for index, story, curve in found
        if curve is not None
    ]
