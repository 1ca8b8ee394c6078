"""`launch drill`: does harm to runs, resumes them, and compares them with one that nobody touched, to the last bit."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options
from launcher.errors import EXIT_FAILED, EXIT_OK, Problem, UserError, choices

if TYPE_CHECKING:
    from launcher.cli.drill_runs import DrillRuns, FaultedRun
    from launcher.runs.directory import RunDir
    from launcher.runs.drills import Drill, Interruption, Sameness

STEPS = 12


@click.command("drill")
@options.assignments
@click.option(
    "--faults",
    default="stop",
    show_default=True,
    metavar="NAME[,NAME ...]",
    help="What to do to the runs: stop, kill (a rank), hang (halt a rank), node (kill all that trains on one; on Slurm also take "
    "it down, if that is permitted and nobody else uses it), disk (accepts no more data), world (go on with other ranks: losses "
    "must stay close).",
)
@click.option("--kill", is_flag=True, help="The same as --faults stop,kill.")
@click.option(
    "--steps",
    type=click.IntRange(min=4),
    default=STEPS,
    show_default=True,
    help="Optimizer steps of each run; more if they are too quick to be interrupted.",
)
@click.option(
    "--plant",
    is_flag=True,
    help="Change one bit of the checkpoint that each run resumes from: the drill must fail and name it.",
)
@click.option(
    "--output",
    type=options.GivenPath(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Where to write drill.json and drill.html; default here.",
)
@click.option(
    "--keep", is_flag=True, help="Keep the drill's runs; by default only those of a failed drill stay."
)
@options.as_json
@options.examples("""
    launch drill recipe=smoke
    launch drill recipe=smoke gpus=4 --faults stop,kill,node,disk,world
    launch drill recipe=roberta-cls nodes=2 zero.stage=2 --faults kill,node
    launch drill recipe=smoke --plant
""")
def drill_command(
    assignments: tuple[str, ...],
    faults: str,
    kill: bool,
    steps: int,
    plant: bool,
    output: Path | None,
    keep: bool,
    as_json: bool,
) -> int:
    """Prove that stopping and resuming change nothing: every loss and every tensor, bit for bit.

    Trains the recipe undisturbed, then once per fault: the fault really happens half-way, the run resumes, and the two are
    compared. Names the first step and the first tensor that differ. Writes drill.json and drill.html.
    """
    from launcher.cli.drill_runs import DrillRuns
    from launcher.cli.output import show, show_json
    from launcher.runs.files import write_json, write_text
    from launcher.runs.records import tree_of

    ways = _chosen("stop,kill" if kill else faults)
    place = _writable(output or Path.cwd())
    runs = DrillRuns(
        assignments, os.environ, Path.cwd(), f"drill-{secrets.token_hex(3)}", steps=steps, plant=plant
    )
    runs.refuse(ways)
    began_at = time.time()
    with runs.removed_on_interrupt(keep=keep):
        whole, interrupted = runs.perform(ways)
        drill = _record(runs, whole, interrupted, assignments, began_at)
    write_json(place / "drill.json", tree_of(drill), 0o644)
    write_text(place / "drill.html", _page(drill), 0o644)
    if as_json:
        show_json(tree_of(drill))
    else:
        show(_table(drill))
        show("PASS" if drill.passed else "FAIL")
    if drill.passed and not keep:
        for run in {whole, *(each.run for each in interrupted), *(each.whole for each in interrupted)}:
            run.discard()
    return EXIT_OK if drill.passed else EXIT_FAILED


def _chosen(text: str) -> list[str]:
    """The faults of a list, each once. Raises UserError for one that there isn't."""
    from launcher.cli.drill_runs import FAULTS

    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [
        Problem("there is no such fault", field="--faults", value=name, remedy=choices(name, list(FAULTS)))
        for name in names
        if name not in FAULTS
    ]
    if unknown:
        raise UserError(unknown)
    return names


def _writable(directory: Path) -> Path:
    """Raises UserError now rather than after the last run."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't be made: {error.strerror}", where=str(directory)) from None
    if not os.access(directory, os.W_OK):
        remedy = "name another with --output DIR"
        raise UserError("drill.json can't be written here", where=str(directory), remedy=remedy)
    return directory


def _record(
    runs: DrillRuns, whole: RunDir, interrupted: list[FaultedRun], words: tuple[str, ...], began_at: float
) -> Drill:
    from launcher import __version__
    from launcher.cli.drill_comparison import compare
    from launcher.cli.output import redact
    from launcher.runs.drills import Drill

    compared = compare(whole, interrupted)
    plan = whole.plan_tree()
    return Drill(
        passed=all(each.passed for each in compared),
        recipe=next((word.removeprefix("recipe=") for word in words if word.startswith("recipe=")), ""),
        executor=plan["executor"],
        world_size=plan["world_size"],
        strategy=f"zero-{plan['zero_stage']}" if plan["zero_stage"] else plan["strategy"],
        steps=runs.steps,
        reference=whole.run_id,
        runs=tuple(compared),
        launcher=__version__,
        began_at=began_at,
        seconds=time.time() - began_at,
        words=tuple(map(redact, words)),
    )


def _page(drill: Drill) -> str:
    from launcher.report.drill_page import page

    return page(drill)


def _difference(run: Interruption, finding: Sameness) -> str:
    if finding.difference is None and run.largest_difference is not None:
        return f"at most {run.largest_difference:.1e} apart"
    return finding.difference or ""


def _table(drill: Drill) -> str:
    from launcher.cli.output import table

    rows = [
        [
            f"{run.way} at step {run.interrupted_at}",
            it.what,
            str(it.same),
            str(it.count),
            _difference(run, it),
        ]
        for run in drill.runs
        for it in run.findings
    ]
    return table(rows, ["way", "compared", "same", "of", "first difference"])
