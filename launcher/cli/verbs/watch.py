"""`launch watch`: runs as they train, on a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.runs.directory import RunDir

NEWEST = 30


@click.command("watch")
@click.argument("references", nargs=-1, metavar="[RUN | SWEEP ...]")
@click.option(
    "--wandb", "as_wandb", is_flag=True, help="Open wandb leet, W&B's own view of one run's files, instead."
)
@options.runs_dir
@options.examples("""
    launch watch
    launch watch smoke-20260131
    launch watch SWEEP
    launch watch smoke-20260131 --wandb
""")
def watch_command(references: tuple[str, ...], as_wandb: bool, runs_dir: Path | None) -> None:
    """Follow runs live: state, step, speed, time left, curves, nodes and the queue's reason; several side by side.

    Without a name: the newest runs. Keys: s stops the chosen run, r resumes it, l shows its logs, c the next curve; q quits and
    leaves the runs alone. Needs the extra `watch`.
    """
    directory = options.resolve_runs_dir(runs_dir)
    if as_wandb:
        _hand_over(references, directory)
    _refuse_where_impossible()
    from launcher.cli.watch_app import WatchApp
    from launcher.cli.watched import Watch

    watch = Watch(lambda: options.runs_meant(references, directory) if references else _newest(directory))
    WatchApp(watch).run()


def _newest(directory: Path) -> Sequence[RunDir]:
    from launcher.cli.many_runs import changed_at
    from launcher.runs.finding import list_runs

    return sorted(list_runs(directory), key=changed_at, reverse=True)[:NEWEST]


def _refuse_where_impossible() -> None:
    from launcher.cli.output import on_terminal
    from launcher.errors import UserError

    if importlib.util.find_spec("textual") is None:
        raise UserError(
            "launch watch needs textual, which is not installed",
            remedy="pip install 'launch-encoders[watch]'",
        )
    if not (on_terminal("stdout") and on_terminal("stdin")):
        raise UserError("launch watch needs a terminal", remedy="launch status, or launch logs RUN -f")


def _hand_over(references: Sequence[str], directory: Path) -> NoReturn:
    """Replace this process by wandb's. Raises UserError where the run has no files of W&B."""
    from launcher.errors import UserError

    if len(references) != 1:
        raise options.misused("--wandb shows one run: name it")
    (run,) = options.runs_meant(references, directory)[:1]
    files = run.path / "wandb"
    if not files.is_dir():
        remedy = "tracking.wandb.mode=offline or online records some; launch watch needs none"
        raise UserError("has no files of W&B", where=run.run_id, remedy=remedy)
    quiet = {**os.environ, "WANDB_ERROR_REPORTING": "false"}
    os.execve(sys.executable, [sys.executable, "-m", "wandb", "leet", str(files)], quiet)
