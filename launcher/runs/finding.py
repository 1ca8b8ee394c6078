"""The runs of a directory, and the one that is meant by a word of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from launcher import paths
from launcher.errors import Problem, UserError, nearest
from launcher.runs.directory import RunDir
from launcher.runs.trust import checked


def find(reference: str, runs_dir: Path) -> RunDir:
    """The run meant by a run id, a unique prefix of one, or a path.

    Raises UserError where there is none or more than one, or the reference is empty.
    """
    if not reference:
        # As a path it would be the working directory, and every name starts with it: an unset variable of a script's.
        raise UserError(Problem("RUN is empty", remedy="name the run: launch status lists them"))
    as_path = Path(reference)
    if paths.exists(as_path / "plan.json"):
        return checked(RunDir(as_path.resolve()))
    runs = {run.run_id: run for run in list_runs(runs_dir)}
    if reference in runs:
        return checked(runs[reference])
    matches = sorted(run_id for run_id in runs if run_id.startswith(reference))
    if len(matches) == 1:
        return checked(runs[matches[0]])
    if matches:
        raise UserError(
            Problem(
                f"{reference!r} is the start of several runs: {', '.join(matches)}", remedy="give more of it"
            )
        )
    if "/" in reference and paths.is_dir(as_path):
        raise UserError(Problem("is not a run directory: it has no plan.json", where=reference))
    guess = nearest(reference, list(runs))
    known = f"did you mean {guess}?" if guess else "launch status lists the runs"
    raise UserError(Problem(f"no run {reference!r} in {runs_dir}", remedy=known))


def list_runs(runs_dir: Path) -> Iterator[RunDir]:
    """Every run in `runs_dir`, by name."""
    if not runs_dir.is_dir():
        return
    for entry in sorted(runs_dir.iterdir()):
        if not entry.name.startswith(".") and os.path.lexists(entry / "plan.json"):
            yield RunDir(entry.resolve())
