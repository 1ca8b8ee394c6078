"""`launch report`: one HTML file about a run, or several side by side, with nothing to fetch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.recipe.recipe import leaf_values
from launcher.report.attribution_page import headline, spans
from launcher.report.charts import charts_of
from launcher.report.curves import MOST_POINTS
from launcher.report.story import Story, plain
from launcher.report.trials import effects, trials_of
from launcher.runs.directory import RunDir
from launcher.runs.verb_results import Explanation
from launcher.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"
LEAST_POINTS = 150
MOST_CURVES = 24
"""Runs whose curves are drawn on top of each other."""
FEW = 4
"""Runs that are all told in full."""
MOST_TOLD = 2
"""Of more than a few, those that are."""
SMOOTHED, MOST_SMOOTHED = 0.02, 0.9
"""Share of the steps over which a curve is smoothed at first, so that it doesn't lag behind, and the most that it is."""


def page(
    runs: Sequence[RunDir],
    version: str,
    explanations: Mapping[str, Sequence[Explanation]] | None = None,
) -> str:
    """The whole document. Raises UserError where one of the directories is no run.

    `explanations` are what `launch explain` says of mistakes, by run id. Of many runs the best are told in full.
    """
    points = max(MOST_POINTS * 4 // max(len(runs), 4), LEAST_POINTS)
    stories = [Story(run, points) for run in runs]
    compared = trials_of(runs) if len(runs) > 1 else None
    if compared is not None:
        stories.sort(key=lambda story: compared.values.get(story.run_id, math.inf))
    differences = list(_differences(stories))
    charts = list(charts_of(stories[:MOST_CURVES]))
    names = [card.name for card in stories[0].cards]
    best = [story.best_value(compared.metric) for story in stories] if compared else []
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=_title(stories),
            runs=stories,
            card_names=names,
            told=stories if len(stories) <= FEW else stories[:MOST_TOLD],
            others=_not_completed([] if len(stories) <= FEW else stories[MOST_TOLD:]),
            few=len(stories) <= FEW,
            counts=", ".join(f"{n} {status}" for status, n in Counter(s.status for s in stories).items()),
            compared=compared,
            effects=[] if compared is None else list(effects(compared.metric, best, differences)),
            explained={
                run_id: [(headline(each), spans(each.words)) for each in found]
                for run_id, found in (explanations or {}).items()
            },
            differences=differences,
            charts=charts,
            drawn=MOST_CURVES,
            charts_json=json.dumps([chart.tree() for chart in charts], allow_nan=False).replace(
                "<", "\\u003c"
            ),
            smoothing=_smoothing(max((story.steps for story in stories), default=0)),
            version=version,
            css=asset("report.css"),
            js=asset("report.js"),
            uplot_css=asset("uplot.min.css"),
            uplot_js=asset("uplot.min.js"),
        )
    )


def _smoothing(steps: int) -> float:
    """How much the last point weighs on the next in the curves of so many steps."""
    return round(min(MOST_SMOOTHED, 1 - 1 / max(1.0, SMOOTHED * steps)), 2)


def _not_completed(stories: Sequence[Story]) -> dict[tuple[str, str], list[str]]:
    """The runs that did not come to their end, by how they stand and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for story in stories:
        if story.status != "completed":
            why = "" if story.cause is None else story.cause.headline
            found.setdefault((story.status, why), []).append(story.run_id)
    return found


def _title(stories: Sequence[Story]) -> str:
    first = stories[0].run_id
    if len(stories) == 1:
        return first
    sweep = first.partition(".")[0]
    if all(story.run_id.startswith(f"{sweep}.") for story in stories):
        return f"{sweep}: {len(stories)} trials"
    return f"{len(stories)} runs, {first} first"


def environment() -> Environment:
    """What pages are made by: all text is escaped, and none has characters that aren't seen."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
    )


def _shown(value: object) -> object:
    """Text for the page; what a filter or an asset has made of it stays."""
    return visible(value) if type(value) is str else value


def asset(name: str) -> str:
    """The text of a file beside the templates."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _differences(stories: Sequence[Story]) -> Iterator[tuple[str, list[str]]]:
    """Keys of the recipe in which the runs differ, and the value that each has."""
    recipes = [dict(leaf_values(story.recipe.tree())) for story in stories]
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        values = [plain(recipe.get(key)) for recipe in recipes]
        if len(set(values)) > 1 and key != "run_id":
            yield key, values
