"""The page of a drill: what was done to the runs, and whether they came to the same."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.figures import human_seconds
from launcher.report.run_page import asset, environment
from launcher.runs.drills import Drill


def page(drill: Drill) -> str:
    """A complete HTML document, with nothing to fetch."""
    template = environment().get_template("drill.html.j2")
    return template.render(drill=drill, cards=list(_cards(drill)), css=asset("report.css"))


def _cards(drill: Drill) -> Iterator[tuple[str, str]]:
    yield "executor", drill.executor
    yield "ranks", str(drill.world_size)
    yield "strategy", drill.strategy
    yield "steps of each run", str(drill.steps)
    yield "compared", str(sum(it.count for run in drill.runs for it in run.findings))
    yield "different", str(sum(it.count - it.same for run in drill.runs for it in run.findings))
    yield "took", human_seconds(drill.seconds)
