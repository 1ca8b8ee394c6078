"""What the files of a run tell about its training where that could not say so itself; see `node`.

Standard library alone, and nothing here fails on a line that was torn.
"""

from __future__ import annotations

from collections.abc import Iterator

from launcher import tasks
from launcher.runs.best_model import step_of
from launcher.runs.columns import read_columns
from launcher.runs.directory import RunDir
from launcher.runs.events import Evaluated, read_events
from launcher.runs.metrics import MetricsRow
from launcher.runs.results import Best, Result
from launcher.runs.run_plan import RunPlan


def of_run(run: RunDir, plan: RunPlan) -> Result:
    """The part of result.json that a completed run has from its training; null where it is not known."""
    columns = read_columns(run)
    return Result(
        "failed",
        best=best(run, plan, columns.evaluations),
        epochs=next((epoch for epoch in reversed(columns.epochs) if epoch == epoch), None),
        micro_batch_size=plan.layout.micro_batch_size,
        predicted=plan.predicted,
    )


def best(run: RunDir, plan: RunPlan, rows: list[MetricsRow]) -> Best | None:
    """The evaluation of the model in model/: metric, value and step; None where there is no model yet."""
    if not (run.model / "config.json").is_file():
        return None
    task = tasks.named(plan.recipe.task)
    metric = plan.recipe.eval.metric or task.metric
    values = dict(_values(rows, f"eval/{metric}"))
    # While weights are still being pruned, no evaluation counts; only the events tell which did.
    counted = {event.step for event in read_events(run.events, Evaluated) if event.best}
    known = {step: value for step, value in values.items() if step in counted} or values
    if not known:
        return None
    kept = step_of(run.model)
    if kept in known:
        return Best(metric, known[kept], kept)
    choose = max if task.higher_is_better(metric) else min
    step = choose(sorted(known), key=lambda step: known[step])
    return Best(metric, known[step], step)


def _values(rows: list[MetricsRow], key: str) -> Iterator[tuple[int, float]]:
    """(step, value) of each evaluation on the validation data that has one."""
    for row in rows:
        value = row.figures.get(key)
        if row.split == "validation" and value is not None:
            yield row.step, value
