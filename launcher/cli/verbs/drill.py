"""`launch drill`: interrupts a run, resumes it, and compares it with one that nobody touched, to the last bit."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from launcher.cli import options
from launcher.errors import EXIT_FAILED, EXIT_OK

STEPS = 12


@click.command("drill")
@options.assignments
@click.option("--kill", is_flag=True, help="Also drill a run that is killed instead of stopped.")
@click.option(
    "--steps",
    type=click.IntRange(min=4),
    default=STEPS,
    show_default=True,
    help="Optimizer steps of each run.",
)
@click.option(
    "--keep", is_flag=True, help="Keep the drill's runs; without it only those of a drill that failed stay."
)
@options.as_json
@options.examples("""
    launch drill recipe=smoke
    launch drill recipe=smoke gpus=4 --kill
    launch drill recipe=roberta-cls nodes=2 zero.stage=2
""")
def drill_command(assignments: tuple[str, ...], kill: bool, steps: int, keep: bool, as_json: bool) -> int:
    """Prove that stopping and resuming change nothing: every loss and the weights, bit for bit.

    Runs the recipe for a few steps, stops it half-way, resumes it, and compares it with an uninterrupted run. Where
    steps are so quick that the run ends before it stops, longer runs are taken.
    """
    from launcher.cli.drill_runs import DrillRuns, compare
    from launcher.cli.output import show, show_json, table

    ways = ["stop", "kill"] if kill else ["stop"]
    drill = DrillRuns(assignments, os.environ, Path.cwd(), f"drill-{secrets.token_hex(3)}")
    whole, interrupted = drill.perform(ways, steps)
    comparisons = [compare(whole, run, way) for way, run in interrupted.items()]
    passed = all(comparison.passed for comparison in comparisons)
    if as_json:
        show_json({"passed": passed, "runs": [comparison.tree() for comparison in comparisons]})
    else:
        rows = [row for comparison in comparisons for row in comparison.rows()]
        show(table(rows, ["way", "compared", "same", "of", "first difference"]))
        show("PASS" if passed else "FAIL")
    if passed and not keep:
        for run in (whole, *interrupted.values()):
            run.discard()
    return EXIT_OK if passed else EXIT_FAILED
