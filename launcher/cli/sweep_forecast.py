"""What the trials of a sweep are and take together, before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.cli.output import table
from launcher.figures import human_count, human_seconds, quantity
from launcher.sweeps.packing import Packing
from launcher.sweeps.search import Searched
from launcher.sweeps.sweep import Planned, PlannedTrial

LEAST_HOURS = 0.01
"""Of GPUs that are told; less is told to be less."""


@dataclass(frozen=True)
class TrialForecast:
    """A trial, and the seconds that its steps are predicted to take."""

    run_id: str
    values: Mapping[str, Any]
    plan_id: str
    steps: int | None
    predicted_s: float | None
    exists: bool


@dataclass(frozen=True)
class SharedJobs:
    """Jobs of several trials."""

    each: int
    jobs: int
    reason: str


@dataclass(frozen=True)
class SweepForecast:
    """What the trials are and what those take that aren't there yet, as far as it can be predicted."""

    sweep: str
    directory: str
    device: str
    search: str | None
    rank_hours: float | None
    to_come: int
    packed: SharedJobs | None
    trials: tuple[TrialForecast, ...]


def sweep_forecast(planned: Planned, searched: Searched | None, packed: Packing | None) -> SweepForecast:
    """What starting the trials would mean; `launch sweep --plan --json` prints it."""
    trials = tuple(map(_trial_forecast, planned.trials))
    example = planned.trials[0] if searched is None else searched.example
    to_come = 0 if searched is None else searched.search.trials - len(trials)
    ranks = [*(trial.prepared.plan.world_size for trial in planned.trials), example.prepared.plan.world_size]
    seconds = [*(trial.predicted_s for trial in trials), _trial_forecast(example).predicted_s]
    counts = [*(int(not trial.exists) for trial in trials), to_come]
    costs = [
        None if each is None else world * each * count
        for world, each, count in zip(ranks, seconds, counts, strict=True)
        if count
    ]
    known = [cost for cost in costs if cost is not None]
    jobs = -(-(len(trials) + to_come) // packed.each) if packed else 0
    return SweepForecast(
        planned.name,
        str(planned.directory),
        example.prepared.plan.device,
        None if planned.search is None else planned.search.method,
        sum(known) / 3600 if len(known) == len(costs) else None,
        to_come,
        SharedJobs(packed.each, jobs, packed.reason) if packed else None,
        trials,
    )


def _trial_forecast(trial: PlannedTrial) -> TrialForecast:
    plan = trial.prepared.plan
    step_s, total = plan.throughput.step_s, plan.steps.total
    seconds = None if step_s is None or total is None else step_s * total
    return TrialForecast(
        trial.run_id, trial.values, plan.plan_id, total, seconds, Path(plan.run_dir).exists()
    )


def _cost(forecast: SweepForecast) -> str:
    """What all steps take: hours of GPUs, which are paid for, or else time of processes."""
    hours = forecast.rank_hours
    if forecast.device != "cuda":
        return _time(None if hours is None else 3600 * hours)
    if hours is None:
        return "unknown GPU hours"
    return f"{hours:.2g} GPU hours" if hours >= LEAST_HOURS else f"less than {LEAST_HOURS} GPU hours"


def _time(seconds: float | None) -> str:
    return "under a second" if seconds is not None and seconds < 1 else human_seconds(seconds)


def forecast_text(forecast: SweepForecast) -> str:
    """The same as a table, and what it costs in all."""
    trials, to_come, packed = forecast.trials, forecast.to_come, forecast.packed
    rows = [
        (each.run_id, human_count(each.steps), _time(each.predicted_s), "is there" if each.exists else "new")
        for each in trials
    ]
    count = len(rows) + to_come
    waves = f"{packed.each} at a time " if packed else ""
    new = sum(not trial.exists for trial in trials)
    said = [f"{new} new"] if new < len(rows) and (new or not to_come) else []
    said += [f"{to_come} drawn {waves}as results come"] if to_come else []
    drawn = f" ({', '.join(said)})" if said else ""
    of_what = "of training steps in new ones" if new < len(rows) else "of training steps"
    cost = f", {_cost(forecast)} {of_what} (predicted)" if new or to_come else ""
    total = f"{quantity(count, 'trial')}{drawn}{cost}; nothing was started"
    if packed:
        share = f"{quantity(packed.each, 'trial')} in a job, {packed.reason}"
        instead = f" instead of {count}" if packed.each > 1 else ""
        total = f"{share}: {quantity(packed.jobs, 'job')}{instead}\n{total}"
    return table(rows, ["trial", "steps", "training", ""]) + "\n" + total if rows else total
