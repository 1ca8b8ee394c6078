"""Which run directories are believed: what others could have written is neither read nor executed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import Problem, UntrustedFile, UserError
from launcher.runs.directory import RunDir

if TYPE_CHECKING:
    from launcher.runs.run_plan import RunPlan


WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def checked(run: RunDir) -> RunDir:
    """A run that is believed: see `believed_plan`."""
    believed_plan(run)
    return run


def believed_plan(run: RunDir) -> RunPlan:
    """The plan of a run that is believed: `refuse_strangers`, and its plan is one. Raises UserError."""
    refuse_strangers(run)
    return run.read_plan()


def refuse_strangers(run: RunDir) -> None:
    """Raises UserError unless the directory and what is read or executed of it are ours alone.

    Root is no exception: it would execute what somebody else has written.
    """
    refuse_foreign(run.path, run.path)
    for directory, names in (
        (run.path, BELIEVED),
        (run.control, REQUESTS),
        (run.attempts, None),
        (run.checkpoints, None),
    ):
        for entry in _entries(directory):
            if names is None or entry.name in names:
                refuse_foreign(entry, run.path)


def _names(*paths: Path) -> frozenset[str]:
    return frozenset(path.name for path in paths)


_ANY = RunDir(Path())
BELIEVED = _names(
    *(_ANY.control, _ANY.attempts, _ANY.logs, _ANY.checkpoints, _ANY.model, _ANY.provenance),
    *(_ANY.result, _ANY.metrics),
    *(_ANY.recipe, _ANY.plan, _ANY.ds_config, _ANY.loss, _ANY.job_sbatch, _ANY.job_sh, _ANY.code_patch),
)
"""What is executed or read, if it is there."""
REQUESTS = _names(_ANY.jobs, _ANY.stop, _ANY.cancel, _ANY.secrets, _ANY.lock, _ANY.submitting)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """What lies in a directory; nothing where it is none."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def refuse_foreign(path: Path | os.DirEntry[str], within: Path) -> None:
    """Raises UntrustedFile where others own or may change it, UserError where it is a link, a pipe or a device.

    It lies in the directory `within`, or is that directory.
    """
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return
    kind: type[UserError] = UserError
    if stat.S_ISLNK(found.st_mode):
        reason = "is a link, and links in a run directory are not followed"
        remedy = "put what it points at in its place"
    elif found.st_uid != os.geteuid():
        kind, reason = UntrustedFile, f"belongs to user {found.st_uid}, and you are user {os.geteuid()}"
        remedy = "use it as its owner, or make it yours once you have read it: cp -r, then chmod -R go-w"
        if os.access(within / _ANY.model, os.R_OK) and not os.access(within / _ANY.plan, os.R_OK):
            remedy = f"its model alone is shared, a plain Hugging Face one: model.name={within / _ANY.model}"
    elif found.st_mode & WRITABLE_BY_OTHERS:
        kind, reason = UntrustedFile, "can be changed by others: nothing in it is believed or executed"
        remedy = f"look at what it holds, then: chmod -R go-w {within}"
    elif not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        reason = "is neither a file nor a directory: a pipe or a device is never read"
        remedy = f"remove it: rm {os.fspath(path)}"
    else:
        return
    raise kind(Problem(reason, where=os.fspath(path), remedy=remedy))
