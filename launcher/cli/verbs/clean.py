"""`launch clean`: runs that failed or are old, and their room on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options
from launcher.cli.verbs.runs import STATES

if TYPE_CHECKING:
    from launcher.cli.cleaning import Begun, Leftover
    from launcher.runs.directory import RunDir

ENDED = tuple(
    state
    for state in STATES
    if state not in ("pending", "running", "completing", "unreachable", "damaged", "untrusted")
)


@click.command("clean")
@click.argument("references", nargs=-1, metavar="[RUN | SWEEP ...]")
@click.option(
    "--state",
    "states",
    type=click.Choice(ENDED),
    multiple=True,
    help="Only runs in this state; may be repeated. Without --older-than the default is failed.",
)
@click.option(
    "--older-than",
    type=options.Age(),
    metavar="AGE",
    help="Only runs that were idle for this long: 12h, 30d, 8w.",
)
@click.option("--checkpoints", is_flag=True, help="Delete only checkpoints: models and records stay.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch clean
    launch clean --older-than 30d
    launch clean --older-than 30d --state completed --checkpoints
    launch clean smoke-20260131 --yes
""")
def clean_command(
    references: tuple[str, ...],
    states: tuple[str, ...],
    older_than: float | None,
    checkpoints: bool,
    yes: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Show runs that failed, or were idle for long, with their size, and delete them after asking.

    Also lists what killed commands left of unfinished runs. Runs that you name are shown whatever their state. Never deleted
    are runs that have, or may have, a job, and what is no run directory of yours; links are not followed.
    """
    from launcher.cli.cleaning import begun, leftovers
    from launcher.cli.output import say, show_json

    directory = options.resolve_runs_dir(runs_dir)
    named = _meant(references, directory)
    any_state = not (references or states or checkpoints)
    if not (references or states or older_than):
        states = ("failed",)
    before = None if older_than is None else time.time() - older_than
    found = [
        *leftovers(named, states, before, checkpoints_only=checkpoints),
        *(begun(directory, before) if any_state else ()),
    ]
    deleted = _delete(found, checkpoints, yes, as_json)
    if as_json:
        show_json({"deleted": deleted, "runs": [each.tree for each in found]})
    elif not found:
        say(f"nothing to clean in {directory}")


def _meant(references: Sequence[str], directory: Path) -> list[RunDir]:
    """The runs that are named, or all of a directory; none that is there only as a link. Raises UserError for such a name."""
    from launcher.errors import UserError
    from launcher.runs.finding import list_runs

    home, named = directory.resolve(), {Path(reference).absolute() for reference in references}
    aliases = {path.resolve() for path in map(directory.joinpath, references) if path.is_symlink()}
    found = options.runs_meant(references, directory) if references else list_runs(directory)
    runs = list(found)
    own = [run for run in runs if (run.path.parent == home and run.path not in aliases) or run.path in named]
    if references and len(own) < len(runs):
        linked = next(run for run in runs if run not in own)
        remedy = f"name it by its own path: {linked.path}"
        raise UserError("is reached through a link, which is not followed", linked.run_id, remedy=remedy)
    return own


def _delete(found: Sequence[Leftover | Begun], checkpoints: bool, yes: bool, as_json: bool) -> bool:
    """Whether they were deleted, which without --yes takes a yes on the terminal."""
    from launcher.cli.cleaning import delete, show_leftovers
    from launcher.cli.output import on_terminal, say
    from launcher.figures import human_bytes, quantity

    if not found:
        return False
    if not as_json:
        show_leftovers(found)
    what = "checkpoints of " if checkpoints else ""
    runs = f"{what}{quantity(len(found), 'run')}"
    size = human_bytes(sum(each.bytes for each in found))
    if not yes:
        if as_json or not on_terminal("stdin"):
            say(f"{runs}, {size}: nothing was deleted; --yes deletes them")
            return False
        if not click.confirm(f"Delete {runs}, {size}?", err=True):
            return False
    delete(found, checkpoints_only=checkpoints)
    say(f"deleted {runs}, {size}")
    return True
