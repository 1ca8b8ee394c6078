"""`launch sync`: records of runs to where people look at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.errors import LauncherError
    from launcher.runs.directory import RunDir
    from launcher.runs.verb_results import Sent

AT_ONCE = 2
"""Runs that are sent side by side, where none of them is followed."""


@click.command("sync")
@click.argument("references", nargs=-1, metavar="[RUN | SWEEP ...]")
@click.option(
    "--follow", "-f", is_flag=True, help="Keep sending until the run has ended; Ctrl-C ends only the sending."
)
@click.option(
    "--to",
    type=click.Choice(["wandb", "tensorboard", "mlflow"]),
    default="wandb",
    show_default=True,
    help="tensorboard: files in the run's directory; mlflow: the server named by MLFLOW_TRACKING_URI.",
)
@click.option("--workspace", is_flag=True, help="Lay out panels in the run's project at W&B instead.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch sync
    launch sync roberta-20260131 --follow
    launch sync SWEEP --to tensorboard
    launch sync roberta-20260131 --workspace
""")
def sync_command(
    references: tuple[str, ...],
    follow: bool,
    to: str,
    workspace: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Send what runs recorded to W&B, TensorBoard or MLflow, each step once.

    Works on any machine that sees the runs' directory, such as a login node, also while they train. Without RUN: all runs
    of which W&B lacks something.
    """
    from launcher.cli.output import say, show, show_json
    from launcher.cli.train_process import run_many
    from launcher.errors import EXIT_FAILED, EXIT_OK, UserError
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Sent

    directory = options.resolve_runs_dir(runs_dir)
    if workspace:
        _lay_out(references, directory, plain=to == "wandb" and not follow, as_json=as_json)
        return EXIT_OK
    if not references and to != "wandb":
        raise UserError("which run?", field="--to", value=to, remedy=f"launch sync RUN --to {to}")
    runs = options.runs_meant(references, directory) if references else _offline(directory)
    if not runs:
        say(f"nothing in {directory} waits to be sent")
    extra = [f"--to={to}", *(["--follow"] if follow else [])]
    jobs = {run.run_id: ["sync", str(run.path), *extra] for run in runs}
    done, errors = run_many(jobs, Sent, len(jobs) if follow else AT_ONCE)
    for text, (first, *others) in _by_text(errors).items():
        say(f"{first}{f' and {len(others)} more' if others else ''}: {text}")
    if as_json:
        show_json(
            {
                "runs": [tree_of(sent) for sent in done],
                "failed": {run_id: str(error) for run_id, error in errors.items()},
            }
        )
    else:
        for sent in done:
            show(_line(sent))
    if not errors:
        return EXIT_OK
    return max(error.exit_code for error in errors.values()) if not done else EXIT_FAILED


def _lay_out(references: tuple[str, ...], directory: Path, *, plain: bool, as_json: bool) -> None:
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Workspace

    if not references or not plain:
        raise options.misused("--workspace goes with a RUN alone: its project gets it")
    run = options.runs_meant(references, directory)[0]
    done = run_verb(["workspace", str(run.path)], Workspace)
    show_json(tree_of(done)) if as_json else show(done.url)


def _by_text(errors: Mapping[str, LauncherError]) -> dict[str, list[str]]:
    """The runs that have the same to say: without a key, with a server that is down, all of them have."""
    found: dict[str, list[str]] = {}
    for run_id, error in errors.items():
        found.setdefault(str(error), []).append(run_id)
    return found


def _line(sent: Sent) -> str:
    more = "" if sent.ended else "; it goes on"
    return f"{sent.run_id}: {sent.rows} rows sent to {sent.url}{more}"


def _offline(directory: Path) -> list[RunDir]:
    """Runs with a part that W&B's client has written here, and nobody has sent."""
    from launcher.runs.finding import list_runs
    from launcher.runs.trust import checked
    from launcher.runs.wandb_parts import has_unsent

    return [checked(run) for run in list_runs(directory) if has_unsent(run)]
