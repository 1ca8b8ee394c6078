"""`launch report`: one HTML file about a run, or several side by side, with nothing to fetch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.recipe.recipe import leaf_values
from launcher.report.charts import charts_of
from launcher.report.story import Story, plain
from launcher.report.visible import visible
from launcher.runs.directory import RunDir

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"
NOISY_STEPS = 50
"""From so many steps on, curves are drawn smoothed at first."""


def page(runs: Sequence[RunDir], version: str) -> str:
    """The whole document. Raises UserError where one of the directories is no run."""
    stories = [Story(run) for run in runs]
    charts = list(charts_of(stories))
    names = [card.name for card in stories[0].cards]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=stories[0].run_id
            if len(stories) == 1
            else f"{len(stories)} runs, {stories[0].run_id} first",
            runs=stories,
            card_names=names,
            differences=list(_differences(stories)),
            charts=charts,
            charts_json=json.dumps([chart.tree() for chart in charts], allow_nan=False).replace(
                "<", "\\u003c"
            ),
            smoothing=0.9 if any(story.steps >= NOISY_STEPS for story in stories) else 0,
            version=version,
            css=asset("report.css"),
            js=asset("report.js"),
            uplot_css=asset("uplot.min.css"),
            uplot_js=asset("uplot.min.js"),
        )
    )


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
    recipes = [dict(leaf_values(story.plan["recipe"])) for story in stories]
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        values = [plain(recipe.get(key)) for recipe in recipes]
        if len(set(values)) > 1 and key != "run_id":
            yield key, values
