"""`launch report`: a page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.runs.directory import RunDir
    from launcher.runs.verb_results import Explanation


@click.command("report")
@click.argument("references", nargs=-1, required=True, metavar="RUN [RUN | SWEEP ...]")
@click.option(
    "--output",
    metavar="FILE",
    type=options.GivenPath(),
    help="Where to write it; default report.html in the run's directory, or here for several.",
)
@click.option(
    "--explain",
    metavar="N",
    type=click.IntRange(0, 20),
    default=0,
    help="Also show which words led to the N worst mistakes of each run; needs torch and some seconds for each.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch report smoke-20260131
    launch report smoke-20260131 --explain 5
    launch report SWEEP
    launch report bert-1 roberta-1 --output side-by-side.html
""")
def report_command(
    references: tuple[str, ...], output: str | None, explain: int, runs_dir: Path | None, as_json: bool
) -> None:
    """One HTML file about a run, a sweep, or several side by side: figures, curves, classes, mistakes, attempts, recipe.

    It loads nothing from elsewhere: mail it, print it, keep it.
    """
    from launcher import __version__
    from launcher.cli.file_arguments import check_writable
    from launcher.cli.output import show, show_json
    from launcher.cli.progress import busy
    from launcher.figures import quantity
    from launcher.report.run_page import page
    from launcher.runs.files import write_text

    directory = options.resolve_runs_dir(runs_dir)
    runs = options.believed(options.runs_meant(references, directory))
    default = runs[0].path / "report.html" if len(runs) == 1 else Path("report.html")
    target = Path(output) if output else default
    check_writable(target, "--output")
    explanations = {run.run_id: _explained(run, explain) for run in runs} if explain else {}
    mode = 0o644 if output or len(runs) > 1 else 0o600  # whatever lies in a run is its owner's
    with busy(f"reading {quantity(len(runs), 'run')}"):
        text = page(runs, __version__, explanations)
    write_text(target.absolute(), text, mode)
    if as_json:
        show_json({"runs": [run.run_id for run in runs], "page": str(target), "bytes": target.stat().st_size})
    else:
        show(str(target))


def _explained(run: RunDir, count: int) -> tuple[Explanation, ...]:
    """What `launch explain` says of the worst mistakes of a run, on its test data or else its validation data."""
    from launcher import tasks
    from launcher.cli.output import say
    from launcher.cli.train_process import run_verb
    from launcher.runs.planned_recipe import planned_recipe
    from launcher.runs.verb_results import Explanations

    found = {each.split: each for each in run.read_examinations()}
    examination = found.get("test") or found.get("validation")
    recipe = planned_recipe(run)
    tasks.refuse_unexplained(recipe)
    texts = len(tasks.of(recipe).text_columns)
    worst = (
        [each.text for each in examination.mistakes if len(each.text) == texts][:count] if examination else []
    )
    if not worst:
        say(f"note: {run.run_id} has no mistakes on record to explain")
        return ()
    words = [word for parts in worst for text in parts for word in ("--text", text)]
    return run_verb(["explain", str(run.path), *words], Explanations).explanations
