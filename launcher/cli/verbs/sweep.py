"""`launch sweep`: many runs planned together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.sweeps.sweep import Method


@click.command("sweep")
@options.assignments
@click.option("--plan", "plan_only", is_flag=True, help="Show every trial and the total time; start nothing.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most trials at the same time; default: one on this machine, as many as there is room for on a cluster.",
)
@click.option(
    "--pack",
    metavar="N|auto",
    help="Trials that share one GPU (or one node without GPUs); auto: as many as fit.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the sweep; default: made from the recipe's name and the fixed values.",
)
@click.option("--prune", is_flag=True, help="Cancel and remove trials that this command no longer includes.")
@click.option(
    "--search",
    "method",
    type=click.Choice(["random", "tpe", "halving"]),
    help="Draw --trials N points from ranges such as train.lr=1e-6..1e-4:log instead of training a grid.",
)
@click.option("--trials", type=int, metavar="N", help="Number of points to draw.")
@options.loss_file
@options.as_json
@options.examples("""
    launch sweep recipe=roberta-cls train.lr=1e-5,2e-5,5e-5 seed=1..5 --plan
    launch sweep recipe=smoke train.lr=3e-4,1e-3 seed=1..3 --parallel 2
    launch sweep recipe=smoke train.lr=1e-5..1e-2:log --search tpe --trials 20
    launch compare SWEEP
""")
def sweep_command(
    assignments: tuple[str, ...],
    plan_only: bool,
    parallel: int | None,
    pack: str | None,
    name: str | None,
    prune: bool,
    method: Method | None,
    trials: int | None,
    loss_file: Path | None,
    as_json: bool,
) -> int:
    """Train a grid: every combination of the values of keys that have several, such as train.lr=1e-5,2e-5 or seed=1..5.

    With --search: random draws points, halving also stops the worse ones early, tpe learns from the results so far.
    Each trial is a run like any other. The same command again trains what is missing; one more value adds its trials.
    Ctrl-C saves and stops what is running here, a second one kills it; trials on a cluster go on.
    """
    from launcher.cli.output import show, show_json
    from launcher.cli.sweep_forecast import forecast_text, sweep_forecast
    from launcher.cli.sweep_run import packing_of, plan_trials, start_sweep
    from launcher.runs.records import tree_of
    from launcher.sweeps.sweep import Setting

    _refuse_mixed(method, trials, prune=prune)
    setting = Setting(os.environ, Path.cwd(), name, loss_file)
    if plan_only:
        planned, searched = plan_trials(assignments, method, trials, setting)
        forecast = sweep_forecast(planned, searched, packing_of(planned, searched, pack))
        show_json(tree_of(forecast)) if as_json else show(forecast_text(forecast))
        return 0
    return start_sweep(
        assignments, setting, method, trials, parallel, prune=prune, pack=pack, as_json=as_json
    )


def _refuse_mixed(method: Method | None, trials: int | None, *, prune: bool) -> None:
    """Raises UserError where options don't go together."""
    from launcher.errors import UserError

    if (method is None) != (trials is None):
        remedy = "for example --search random --trials 20"
        raise UserError("--search METHOD and --trials N are given together", remedy=remedy)
    if prune and method == "tpe":
        remedy = "a search that learns keeps what it has learnt from; --trials N says how many it has"
        raise UserError("is for a grid, or points that are drawn at once", field="--prune", remedy=remedy)
