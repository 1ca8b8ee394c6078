"""Runs that may be deleted, how large they are, and deleting them: never one with a job, nor through a link."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.cli.many_runs import HEADERS, LAST, Line, changed_at, lines_of
from launcher.cli.output import fitted, say, show, table
from launcher.errors import UserError
from launcher.executors import executor_for
from launcher.figures import human_bytes, moment
from launcher.runs.directory import RunDir
from launcher.runs.finding import unfinished
from launcher.runs.trust import believed_plan

BEGUN = "unfinished"
MAKING_S = 600.0
"""So long nobody takes to make a run, however slow the disk."""


@dataclass(frozen=True)
class Leftover:
    """A run that may be deleted, or its checkpoints."""

    line: Line
    bytes: int
    changed_at: float

    @property
    def run(self) -> RunDir:
        return self.line.run

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        first, last = self.line.cells[:3], self.line.cells[4]
        return [*first, human_bytes(self.bytes), last, moment(self.changed_at)]

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON."""
        known = {"run_id": self.run.run_id, "run_dir": str(self.run.path), "status": self.line.status}
        return {**known, "bytes": self.bytes, "changed_at": self.changed_at}


@dataclass(frozen=True)
class Begun:
    """The directory of a run that a killed command had begun to make."""

    path: Path
    bytes: int
    changed_at: float

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        cause = "its command was killed before the run was there"
        return [self.path.name, BEGUN, "", human_bytes(self.bytes), cause, moment(self.changed_at)]

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON."""
        known = {"run_id": self.path.name, "run_dir": str(self.path), "status": BEGUN}
        return {**known, "bytes": self.bytes, "changed_at": self.changed_at}


def begun(directory: Path, before_s: float | None) -> list[Begun]:
    """What killed commands have left of runs that they were making, unchanged since then and for some minutes."""
    latest = time.time() - MAKING_S
    found = unfinished(directory, latest if before_s is None else min(before_s, latest))
    return [Begun(path, sum(_sizes(path)), path.lstat().st_mtime) for path in found]


def leftovers(
    runs: Sequence[RunDir], states: Sequence[str], before_s: float | None, *, checkpoints_only: bool
) -> list[Leftover]:
    """Those of `runs` that are over, in one of the states where there are some, unchanged since then; largest first.

    Of the others that were meant it is said why they are left alone.
    """
    old = [run for run in runs if before_s is None or changed_at(run) < before_s]
    found = []
    for line in lines_of(old):
        if line.view is None:
            say(f"note: {line.run.run_id} is left alone: {line.doubt}")
        elif line.view.job.active:
            if not states:
                say(f"note: {line.run.run_id} is left alone: it is {line.status}")
        elif not states or line.status in states:
            directory = line.run.checkpoints if checkpoints_only else line.run.path
            size = sum(_sizes(directory))
            if size or not checkpoints_only:
                found.append(Leftover(line, size, changed_at(line.run)))
    return sorted(found, key=lambda each: -each.bytes)


def _sizes(directory: Path) -> Iterator[int]:
    """Bytes on the disk of every file below, those behind links left out."""
    for parent, _, names in os.walk(directory):
        for name in names:
            found = os.lstat(f"{parent}/{name}")
            if stat.S_ISREG(found.st_mode):
                yield found.st_blocks * 512


def show_leftovers(found: Sequence[Leftover | Begun]) -> None:
    """A table of them: size, and when something last happened to each."""
    headers = [*HEADERS[:3], "size", HEADERS[4], "last change"]
    show(table(fitted([headers, *(each.cells for each in found)], LAST)))


def delete(found: Sequence[Leftover | Begun], *, checkpoints_only: bool) -> None:
    """Delete runs, or their checkpoints. Each is looked at once more, and no job can be started in it meanwhile.

    Raises UserError where one has a job by now, or is another's; those before it are deleted then.
    """
    for each in found:
        if isinstance(each, Begun):
            _remove(each.path)
            continue
        run = each.run
        with run.locked() if run.control.is_dir() else contextlib.nullcontext():
            state = executor_for(believed_plan(run).executor).state(run)
            if state.active:
                raise UserError(f"has a job by now: it is {state.status}", where=run.run_id)
            _remove(run.checkpoints if checkpoints_only else run.path)


def _remove(directory: Path) -> None:
    """Remove a directory that is no link, and nothing that links in it point at.

    A run directory loses its plan last: what a kill in the middle leaves is still a run, and is found again.
    """
    if not shutil.rmtree.avoids_symlink_attacks:  # pragma: no cover  (every Unix has it)
        raise UserError("this system can't delete without following links")
    try:
        for entry in sorted(directory.iterdir(), key=lambda path: path.name == "plan.json"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        directory.rmdir()
    except OSError as error:
        raise UserError(
            f"can't be deleted: {error.strerror}", where=str(error.filename or directory)
        ) from None
