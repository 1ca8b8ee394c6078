"""The code that a run was launched with, laid out in a directory of its own from its commit and its patch.

The checkout is only read: neither its files nor its list of worktrees change.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from launcher.errors import UserError
from launcher.planning.code_state import EXECUTED
from launcher.runs.directory import RunDir
from launcher.runs.provenance import code_digest

TIMEOUT_S = 120
COMMIT_LENGTH = 40


def recorded_code(run: RunDir, wanted: str, target: Path, checkout: Path) -> Path:
    """The directory with the code whose digest is `wanted`; made below `target` where it isn't there.

    Raises UserError where it can't be had from this checkout.
    """
    directory = target / wanted[:16]
    if not directory.is_dir():
        commit = (run.read_plan().git_commit or "").removesuffix("-dirty")
        staging = directory.with_name(f".{directory.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o700)
        try:
            _lay_out(commit, staging, checkout)
            _apply(run, staging)
            _verify(run, staging, wanted)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        staging.rename(directory)
    return directory


def _lay_out(commit: str, directory: Path, checkout: Path) -> None:
    if len(commit) != COMMIT_LENGTH or not set(commit) <= set("0123456789abcdef"):
        text = "the run was not launched from a checkout: its commit is not recorded"
        raise UserError(text, remedy="install the version of launch that it ran with")
    command = ["git", "-C", str(checkout), "archive", "--format=tar", commit, "--", *EXECUTED, "recipes"]
    done = _git(command)
    if done.returncode:
        said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["git failed"])[-1]
        remedy = f"bring the commit here: git -C {checkout} fetch --all, or clone the repository that has it"
        raise UserError(f"commit {commit[:12]} can't be read: {said}", str(checkout), remedy=remedy)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")


def _apply(run: RunDir, directory: Path) -> None:
    """The patch, within this directory alone: git refuses paths that lead out of it."""
    if not run.code_patch.is_file():
        return
    # Without a repository above, git applies to files alone.
    ceiling = {"GIT_CEILING_DIRECTORIES": str(directory.parent)}
    done = _git(["git", "-C", str(directory), "apply", str(run.code_patch.resolve())], ceiling)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError("does not fit its commit: " + (said or ["git failed"])[0], str(run.code_patch))


def _verify(run: RunDir, directory: Path, wanted: str) -> None:
    if code_digest(directory / "launcher") != wanted:
        raise UserError(
            "commit and patch do not make the code that trained: some of it was not in git, or changed after the launch",
            where=run.run_id,
            remedy=f"notes in {run.plan} name files that were not recorded",
        )


def _git(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    import os

    try:
        variables = {**os.environ, **(environment or {})}
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, env=variables)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"git can't be asked: {error}", remedy="install git") from None
