"""What the files of a run tell about its training where that could not say so itself; see `node`.

Standard library alone, and nothing here fails on a line that was torn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher import tasks
from launcher.runs.directory import RunDir, read_json_lines


def of_run(run: RunDir, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The part of result.json that a completed run has from its training; null where it is not known."""
    rows = list(read_json_lines(run.metrics))
    epochs = [row["epoch"] for row in rows if "split" not in row and "epoch" in row]
    return {
        "best": best(run, plan, rows),
        "epochs": epochs[-1] if epochs else None,
        "skipped_steps": None,
        "micro_batch_size": plan["layout"]["micro_batch_size"],
        "predicted": {**plan["memory"], **plan["traffic"], "step_s": plan["throughput"]["step_s"]},
        "measured": None,
        "tracking": None,
    }


def best(run: RunDir, plan: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The evaluation of the model in model/: metric, value and step; None where there is no model yet."""
    if not (run.model / "config.json").is_file():
        return None
    recipe = plan["recipe"]
    task = tasks.named(recipe["task"])
    metric = recipe["eval"]["metric"] or task.metric
    values = {
        row["step"]: row[f"eval/{metric}"]
        for row in rows
        if row.get("split") == "validation" and row.get(f"eval/{metric}") is not None
    }
    # While weights are still being pruned, no evaluation counts; only the events tell which did.
    counted = {
        event["step"] for event in read_json_lines(run.events) if event.get("best") and "step" in event
    }
    known = {step: value for step, value in values.items() if step in counted} or values
    if not known:
        return None
    choose = max if task.higher_is_better(metric) else min
    step = choose(sorted(known), key=lambda step: known[step])
    return {"metric": metric, "value": known[step], "step": step}
