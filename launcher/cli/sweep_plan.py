"""What the trials of a sweep are and take together, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.sweeps.packing import Packing
    from launcher.sweeps.search import Searched
    from launcher.sweeps.sweep import Planned, PlannedTrial

LEAST_HOURS = 0.01
"""Of GPUs that are told; less is told to be less."""


def plan_document(planned: Planned, searched: Searched | None, packed: Packing | None) -> dict[str, Any]:
    """What the trials are and what those take that aren't there yet, as far as it can be predicted."""
    trials = [_trial_document(trial) for trial in planned.trials]
    example = planned.trials[0] if searched is None else searched.example
    to_come = 0 if searched is None else searched.search.trials - len(trials)
    ranks = [*(trial.prepared.plan.world_size for trial in planned.trials), example.prepared.plan.world_size]
    seconds = [*(trial["predicted_s"] for trial in trials), _trial_document(example)["predicted_s"]]
    counts = [*(int(not trial["exists"]) for trial in trials), to_come]
    costs = [
        None if each is None else world * each * count
        for world, each, count in zip(ranks, seconds, counts, strict=True)
        if count
    ]
    known = [cost for cost in costs if cost is not None]
    return {
        "sweep": planned.name,
        "directory": str(planned.directory),
        "device": example.prepared.plan.device,
        "search": None if planned.search is None else planned.search.method,
        "rank_hours": sum(known) / 3600 if len(known) == len(costs) else None,
        "to_come": to_come,
        "packed": None
        if packed is None
        else {
            "each": packed.each,
            "jobs": -(-(len(trials) + to_come) // packed.each),
            "reason": packed.reason,
        },
        "trials": trials,
    }


def _trial_document(trial: PlannedTrial) -> dict[str, Any]:
    plan = trial.prepared.plan
    step_s, total = plan.throughput.step_s, plan.steps.total
    return {
        "run_id": trial.run_id,
        "values": trial.values,
        "plan_id": plan.plan_id,
        "steps": total,
        "predicted_s": None if step_s is None or total is None else step_s * total,
        "exists": Path(plan.run_dir).exists(),
    }


def _cost(document: dict[str, Any]) -> str:
    """What all steps take: hours of GPUs, which are paid for, or else time of processes."""
    hours, on_gpu = document["rank_hours"], document["device"] == "cuda"
    if not on_gpu:
        return _time(None if hours is None else 3600 * hours)
    if hours is None:
        return "unknown GPU hours"
    return f"{hours:.2g} GPU hours" if hours >= LEAST_HOURS else f"less than {LEAST_HOURS} GPU hours"


def _time(seconds: float | None) -> str:
    from launcher.figures import human_seconds

    return "under a second" if seconds is not None and seconds < 1 else human_seconds(seconds)


def plan_text(document: dict[str, Any]) -> str:
    """The same as a table, and what it costs in all."""
    from launcher.cli.output import table
    from launcher.figures import human_count, quantity

    rows = [
        (
            trial["run_id"],
            human_count(trial["steps"]),
            _time(trial["predicted_s"]),
            "is there" if trial["exists"] else "new",
        )
        for trial in document["trials"]
    ]
    count = len(rows) + document["to_come"]
    waves = f"{document['packed']['each']} at a time " if document["packed"] else ""
    new = sum(not trial["exists"] for trial in document["trials"])
    said = [f"{new} new"] if new < len(rows) and (new or not document["to_come"]) else []
    said += [f"{document['to_come']} drawn {waves}as results come"] if document["to_come"] else []
    drawn = f" ({', '.join(said)})" if said else ""
    of_what = "of training steps in new ones" if new < len(rows) else "of training steps"
    cost = f", {_cost(document)} {of_what} (predicted)" if new or document["to_come"] else ""
    total = f"{quantity(count, 'trial')}{drawn}{cost}; nothing was started"
    if packed := document["packed"]:
        each, jobs = packed["each"], packed["jobs"]
        share = f"{quantity(each, 'trial')} in a job, {packed['reason']}"
        total = f"{share}: {quantity(jobs, 'job')}{f' instead of {count}' if each > 1 else ''}\n{total}"
    return table(rows, ["trial", "steps", "training", ""]) + "\n" + total if rows else total
