"""`launch report`: a page about runs."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.cli import options


@click.command("report")
@click.argument("references", nargs=-1, required=True, metavar="RUN [RUN ...]")
@click.option(
    "--output",
    metavar="FILE",
    help="Where to write it; default report.html in the run's directory, or here for several.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch report smoke-20260131
    launch report bert-1 roberta-1 --output side-by-side.html
""")
def report_command(
    references: tuple[str, ...], output: str | None, runs_dir: Path | None, as_json: bool
) -> None:
    """One HTML file about a run, or several side by side: figures, curves, evaluations, attempts, recipe.

    It fetches nothing, so that it can be mailed, printed and kept.
    """
    from launcher import __version__
    from launcher.cli.output import show, show_json
    from launcher.cli.verbs.models import check_writable
    from launcher.report.run_page import page
    from launcher.runs.directory import write_text

    directory = options.resolve_runs_dir(runs_dir)
    runs = options.runs_meant(references, directory)
    default = runs[0].path / "report.html" if len(runs) == 1 else Path("report.html")
    target = Path(output) if output else default
    check_writable(target, "--output")
    write_text(target.absolute(), page(runs, __version__), 0o644)
    if as_json:
        show_json({"runs": [run.run_id for run in runs], "page": str(target), "bytes": target.stat().st_size})
    else:
        show(str(target))
