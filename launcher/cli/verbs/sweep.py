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
    "--pack",
    metavar="N|auto",
    help="Trials that share a GPU, or a node's cores where there is none; auto: as many as fit.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the sweep; default: the recipe's name and what is fixed in it."
)
@click.option("--prune", is_flag=True, help="Cancel and take off the list what this command no longer names.")
@click.option(
    "--search",
    "method",
    type=click.Choice(["random", "tpe", "halving"]),
    help="Draw --trials N points from ranges such as train.lr=1e-6..1e-4:log instead of training a grid.",
)
@click.option("--trials", type=int, metavar="N", help="How many points a search draws in all.")
@options.loss_file
@options.as_json
@options.examples("""
    launch sweep recipe=roberta-cls train.lr=1e-5,2e-5,5e-5 seed=1..5 --plan
    launch sweep recipe=smoke train.lr=3e-4,1e-3 seed=1..3 --parallel 2
    launch sweep recipe=roberta-cls train.lr=1e-6..1e-4:log train.warmup=0,0.1 --search tpe --trials 20
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

    Or search: random draws points, halving also stops the worse of them at their evaluations, tpe learns from results.
    Each trial is a run like any other. The same command again goes on with what is missing, a value more adds its trials.
    Ctrl-C saves and stops what is running here, a second one kills it; trials on a cluster go on by themselves.
    """
    from launcher.cli.output import show, show_json
    from launcher.cli.sweep_plan import plan_document, plan_text
    from launcher.cli.sweep_run import packing_of, plan_trials, start_sweep
    from launcher.sweeps.sweep import Setting

    _refuse_mixed(method, trials, prune=prune)
    setting = Setting(os.environ, Path.cwd(), name, loss_file)
    if plan_only:
        planned, searched = plan_trials(assignments, method, trials, setting)
        document = plan_document(planned, searched, packing_of(planned, searched, pack))
        show_json(document) if as_json else show(plan_text(document))
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
