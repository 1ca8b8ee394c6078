"""`launch sweep`: many runs planned together."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.executors import Executor
    from launcher.runs.directory import RunDir
    from launcher.sweeps.queue import Wish
    from launcher.sweeps.sweep import Planned, PlannedTrial, Sweep

WISHES: tuple[Wish, ...] = ("go on", "stop", "cancel")
"""After no, one and two Ctrl-C."""


@click.command("sweep")
@options.assignments
@click.option(
    "--plan", "plan_only", is_flag=True, help="Show every trial and what all of them take; start nothing."
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most trials at the same time; default: one on this machine, what there is room for on a cluster.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the sweep; default: the recipe's name and what is fixed in it."
)
@click.option("--prune", is_flag=True, help="Cancel and take off the list what this command no longer names.")
@options.loss_file
@options.as_json
@options.examples("""
    launch sweep recipe=roberta-cls train.lr=1e-5,2e-5,5e-5 seed=1..5 --plan
    launch sweep recipe=smoke train.lr=3e-4,1e-3 seed=1..3 --parallel 2
    launch compare SWEEP
""")
def sweep_command(
    assignments: tuple[str, ...],
    plan_only: bool,
    parallel: int | None,
    name: str | None,
    prune: bool,
    loss_file: Path | None,
    as_json: bool,
) -> int:
    """Train a grid: every combination of the values of keys that have several, such as train.lr=1e-5,2e-5 or seed=1..5.

    Each trial is a run like any other. The same command again goes on with what is missing, a value more adds its trials.
    Ctrl-C saves and stops what is running, a second one kills it.
    """
    from launcher.cli.output import show, show_json
    from launcher.sweeps.sweep import plan_sweep

    if plan_only:
        document = _plan_document(plan_sweep(assignments, os.environ, Path.cwd(), name, loss_file))
        show_json(document) if as_json else show(_plan_text(document))
        return 0
    return start_sweep(assignments, name, parallel, loss_file, prune=prune, as_json=as_json)


def start_sweep(
    words: Sequence[str],
    name: str | None = None,
    parallel: int | None = None,
    loss_file: Path | None = None,
    *,
    prune: bool = False,
    as_json: bool,
) -> int:
    """Plan the trials that the words name, and have those done that are missing; returns the exit code."""
    from launcher.cli.output import say, show
    from launcher.sweeps.sweep import nothing_left_if_refused, plan_sweep, write

    planned = plan_sweep(words, os.environ, Path.cwd(), name, loss_file)
    planned.refuse_unreachable()
    with nothing_left_if_refused(planned):
        sweep = write(planned, parallel)
        if prune:
            _prune(sweep, planned)
        if not as_json:
            show(sweep.name)
        say(f"{len(planned.trials)} trials; the same command goes on with what is missing")
        named = {trial.run_id for trial in planned.trials}
        return run_sweep(sweep, [run for run in sweep.runs() if run.run_id in named], as_json=as_json)


def seeds_as_values(words: Sequence[str]) -> list[str] | None:
    """The words of a run with `seeds=N` as those of a sweep over the seeds 1 to N; None where it has none."""
    from launcher.errors import Problem, UserError
    from launcher.sweeps.grid import MOST_TRIALS

    given = [word.partition("=")[2] for word in words if word.startswith("seeds=")]
    if not given:
        return None
    others = [word for word in words if not word.startswith("seeds=")]
    if len(given) > 1 or any(word.startswith("seed=") for word in others):
        remedy = "leave one out, or name the seeds: launch sweep ... seed=3,7"
        raise UserError(Problem("is given twice", "override", "seeds", ", ".join(given), remedy))
    count = int(given[0]) if re.fullmatch("[0-9]{1,9}", given[0]) else 0
    if not 2 <= count <= MOST_TRIALS:
        message = f"must be a whole number from 2 to {MOST_TRIALS:,}"
        raise UserError(Problem(message, "override", "seeds", given[0], "one seed alone is seed=N"))
    return [*others, f"seed=1..{count}"]


def run_sweep(sweep: Sweep, runs: Sequence[RunDir], *, as_json: bool) -> int:
    """Have these trials done, as many at a time as the sweep says; returns the exit code."""
    from launcher.executors import executor_for

    executor = executor_for(runs[0].read_plan().executor)
    if executor.array_template is None:
        return _work_off(sweep, runs, executor, as_json=as_json)
    return _submit(sweep, runs, executor, as_json=as_json)


def resume_sweep(sweep: Sweep, *, accept_changes: bool, follow: bool, as_json: bool) -> int:
    """Have what is missing of a sweep done; returns the exit code."""
    from launcher.cli.output import say
    from launcher.errors import Problem, UserError

    if accept_changes or follow:
        option = "--accept-changes" if accept_changes else "--follow"
        raise UserError(Problem("is for one run", None, option, remedy="name a trial of the sweep"))
    there = [run for run in sweep.runs() if run.plan.exists()]
    for run in sweep.runs():
        if run not in there:
            say(f"note: {run.run_id} is gone; the sweep's own command makes it again")
    if not there:
        raise UserError(Problem("has no trial that is there", where=sweep.name, remedy="launch sweep ..."))
    return run_sweep(sweep, there, as_json=as_json)


def _submit(sweep: Sweep, runs: Sequence[RunDir], executor: Executor, *, as_json: bool) -> int:
    """Hand what is missing to the scheduler, and say what becomes of it."""
    from launcher.cli.output import say, show_json
    from launcher.errors import EXIT_OK
    from launcher.sweeps.together import submit

    done = submit(sweep, runs, executor, sweep.at_once)
    if as_json:
        show_json({"sweep": sweep.name, "trials": done.trials, "jobs": list(done.jobs)})
    if done.jobs:
        say(f"{done.started} submitted as job {', '.join(done.jobs)}; watch them: launch status {sweep.name}")
    else:
        say(f"nothing is missing: launch status {sweep.name}")
    return EXIT_OK


def _work_off(sweep: Sweep, runs: Sequence[RunDir], executor: Executor, *, as_json: bool) -> int:
    """Do the trials here, one after the other or some at a time; returns when no more is to be done."""
    from launcher.cli.output import say, show_json
    from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED
    from launcher.sweeps.queue import work_off

    with _wishes(sweep) as wish:
        ended = work_off(
            runs, executor, sweep.at_once or 1, lambda run, what: say(f"{run.run_id}: {what}"), wish
        )
    counts = {status: list(ended.values()).count(status) for status in dict.fromkeys(ended.values())}
    say(f"{sweep.name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if as_json:
        show_json({"sweep": sweep.name, "trials": ended})
    if set(ended.values()) <= {"completed"}:
        say(f"launch compare {sweep.name} shows them best first, launch report {sweep.name} as a page")
        return EXIT_OK
    return EXIT_FAILED if "failed" in counts else EXIT_STOPPED


@contextmanager
def _wishes(sweep: Sweep) -> Iterator[Any]:
    """What Ctrl-C, TERM and `launch stop` or `cancel` of the sweep have asked for so far, as a function."""
    from launcher.runs.records import read_text

    count = 0

    def more(*_: object) -> None:
        nonlocal count
        count += 1

    def wish() -> Wish:
        asked = (read_text(sweep.request) or "").strip()
        others = [WISHES.index(known) for known in WISHES if known == asked]
        return WISHES[min(max(count, *others, 0), len(WISHES) - 1)]

    sweep.request.unlink(missing_ok=True)
    before = {number: signal.signal(number, more) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prune(sweep: Sweep, planned: Planned) -> None:
    """Cancel and take off the list the trials that the command no longer names."""
    from launcher.cli.output import say
    from launcher.executors import executor_for
    from launcher.sweeps.sweep import forget

    for run in forget(sweep, [trial.run_id for trial in planned.trials]):
        executor = executor_for(run.read_plan().executor)
        if executor.state(run).active:
            executor.cancel(run)
        say(f"{run.run_id}: no longer in the sweep; its directory stays")


def _plan_document(planned: Planned) -> dict[str, Any]:
    """What the trials are and what all of them take, as far as it can be predicted."""
    trials = [_trial_document(trial) for trial in planned.trials]
    ranks = [trial.prepared.plan.world_size for trial in planned.trials]
    seconds = [trial["predicted_s"] for trial in trials]
    known = [a * b for a, b in zip(ranks, seconds, strict=True) if b is not None]
    return {
        "sweep": planned.name,
        "directory": str(planned.directory),
        "device": planned.trials[0].prepared.plan.device,
        "rank_hours": sum(known) / 3600 if len(known) == len(trials) else None,
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


def _plan_text(document: dict[str, Any]) -> str:
    from launcher.cli.output import table
    from launcher.figures import human_count, human_seconds

    rows = [
        (
            trial["run_id"],
            human_count(trial["steps"]),
            human_seconds(trial["predicted_s"]),
            "is there" if trial["exists"] else "new",
        )
        for trial in document["trials"]
    ]
    what = "GPU hours" if document["device"] == "cuda" else "hours of a process"
    hours = "unknown" if document["rank_hours"] is None else f"{document['rank_hours']:.2g}"
    total = f"{len(rows)} trials, {hours} {what} of training steps (predicted); nothing was started"
    return table(rows, ["trial", "steps", "training", ""]) + "\n" + total
