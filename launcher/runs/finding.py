"""The runs of a directory, and the one that is meant by a word of the command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher import paths
from launcher.errors import UserError, nearest
from launcher.runs.directory import STAGING, RunDir
from launcher.runs.trust import checked

MOST_NAMED = 5


def find(reference: str, runs_dir: Path) -> RunDir:
    """The run meant by a run id, a unique prefix of one, or a path.

    Raises UserError where there is none or more than one, or the reference is empty.
    """
    if not reference:
        # As a path it would be the working directory, and every name starts with it: an unset variable of a script's.
        raise UserError("RUN is empty", remedy="name the run: launch status lists them")
    as_path = Path(reference)
    for path in [as_path] if "/" in reference else [as_path, runs_dir / reference]:
        if paths.exists(path / "plan.json"):
            return checked(RunDir(path.resolve()))
    # Only now, since it takes a look at each of thousands, for each of many names. A link's run may have another name.
    runs = {run.run_id: run for run in list_runs(runs_dir)}
    if reference in runs:
        return checked(runs[reference])
    matches = sorted(run_id for run_id in runs if run_id.startswith(reference))
    if len(matches) == 1:
        return checked(runs[matches[0]])
    if matches:
        what = "a sweep" if paths.is_dir(runs_dir / reference) else "the start of several runs"
        message = f"{reference!r} is {what}, and one run is meant: {_some(matches)}"
        raise UserError(message, remedy="name one of them")
    for place in (as_path, runs_dir / reference):
        _refuse_unreadable(place)
    if "/" in reference and paths.is_dir(as_path):
        raise UserError("is not a run directory: it has no plan.json", where=reference)
    guess = nearest(reference, list(runs))
    known = (
        f"did you mean {guess}?" if guess else "launch status lists the runs; --runs-dir DIR looks elsewhere"
    )
    raise UserError(f"no run {reference!r} in {runs_dir}", remedy=known)


def _some(run_ids: Sequence[str]) -> str:
    """The first of them, since a sweep has hundreds."""
    more = f" and {len(run_ids) - MOST_NAMED} more" if len(run_ids) > MOST_NAMED else ""
    return ", ".join(run_ids[:MOST_NAMED]) + more


def unfinished(runs_dir: Path, before_s: float) -> list[Path]:
    """What commands that were killed while they made a run have left, unchanged since then, in Unix seconds."""
    entries = sorted(runs_dir.iterdir()) if runs_dir.is_dir() else ()
    return [entry for entry in entries if STAGING.fullmatch(entry.name) and _is_left(entry, before_s)]


def _is_left(directory: Path, before_s: float) -> bool:
    """Whether it is a directory without attempts, which are the first in it and empty until the run starts."""
    try:
        found = directory.lstat()
        attempts = directory / "attempts"
        inside = attempts if attempts.is_dir() else directory
        return stat.S_ISDIR(found.st_mode) and found.st_mtime < before_s and not any(inside.iterdir())
    except OSError:
        return False


def _refuse_unreadable(directory: Path) -> None:
    """Raises UserError where there is a directory into which its owner lets nobody else look."""
    reason = paths.refusal(directory / "plan.json")
    if reason is None or not paths.is_dir(directory):
        return
    owner = directory.stat().st_uid
    who = f" (it belongs to user {owner}, and you are user {os.geteuid()})" if owner != os.geteuid() else ""
    remedy = "use it as its owner; share=group lets a group read the model of a run"
    raise UserError(f"can't be read: {reason}{who}", where=str(directory), remedy=remedy)


def list_runs(runs_dir: Path) -> Iterator[RunDir]:
    """Every run in `runs_dir`, by name."""
    if not runs_dir.is_dir():
        return
    home = runs_dir.resolve()  # once: for each of ten thousand runs it would look at every directory above
    with os.scandir(home) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if not entry.name.startswith(".") and os.path.lexists(f"{entry.path}/plan.json"):
            yield RunDir(Path(entry.path).resolve() if entry.is_symlink() else home / entry.name)


def closed_to_us(runs_dir: Path) -> int:
    """How many directories there, runs perhaps, are such that their owners let nobody else look into them."""
    if not runs_dir.is_dir():
        return 0
    with os.scandir(runs_dir) as entries:
        return sum(entry.is_dir() and not os.access(entry.path, os.X_OK) for entry in entries)
