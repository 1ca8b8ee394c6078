"""Resumable state on disk: staged, hashed, its manifest written last, verified before it is used.

    checkpoints/step_N/
      model.pt optimizer.pt | engine/   weights that train, optimizer (plain | DeepSpeed)
      state.json                        where the run stands
      manifest.json                     every file with size and sha256; a directory without it is not a checkpoint
    checkpoints/step_N.damaged/         what failed its manifest when it was to be resumed from: never used, kept to look at

Dropout and data order are functions of (seed, step, rank), so no random-number state has to be kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from launcher.errors import DamagedFile, RunFailed
from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import FREE_SPACE, of_storage, storage_remedy, takes_no_writes
from launcher.runs.files import write_json
from launcher.runs.manifest import MANIFEST, FileEntry, Manifest, read_manifest
from launcher.runs.records import NEWER, make, read_json, tree_of
from launcher.runs.synced_files import files_in, sync, sync_tree
from launcher.train.process.ranks import Ranks
from launcher.train.process.threads import CHECKPOINT_WRITER
from launcher.train.step.strategy import Strategy

STATE = "state.json"
OWNER = "run_id"
"""Of state.json: the run that wrote it; checkpoints of earlier versions have none."""
NOT_THE_DISK = "it wasn't the disk: logs/rank_0.log holds the traceback; launch resume goes on from the checkpoint before it"
IN_THE_WAY = "put right what the message names, then launch resume"
MOST_BEHIND = 10
"""Training goes on by one in so many steps of a save interval while a checkpoint is being written, and then waits: what a
crash can lose beyond the interval."""

VISIBLE_WITHIN_S = 60.0
"""How long a rank waits to see the checkpoint that rank 0 has chosen; clients of NFS remember names for that long at most."""


@dataclass(frozen=True)
class TrainState:
    """Where a run stands between two steps: all that resuming needs besides weights and optimizer."""

    step: int = 0
    """Optimizer steps done."""
    evaluated_step: int = -1
    """Step of the last finished evaluation."""
    best_value: float | None = None
    """Best value of the monitored metric, and its step."""
    best_step: int | None = None
    unimproved: int = 0
    """Evaluations since the last improvement that early stopping counts."""
    stopping_value: float | None = None
    """Value of the early-stopping metric that has to be beaten."""
    plateau_scale: float = 1.0
    """What train.schedule=plateau has cut the learning rate to, as a share."""
    plateau_value: float | None = None
    """Value of eval.metric that has to be beaten, and evaluations since."""
    plateau_unimproved: int = 0
    skipped_steps: int = 0
    """Steps left out by fp16 overflow."""
    left_out: tuple[int, ...] = ()
    """Steps left out by train.on_nan=skip."""
    rolled_back: tuple[tuple[int, ...], ...] = ()
    """First and last step of each window whose updates were undone by train.on_nan=rollback."""
    max_tokens: int | None = None
    """Tokens of a micro-batch that batch.tokens=auto has found; resuming keeps to them."""
    wall_s: float = 0.0
    """Seconds of training over all attempts."""
    data_fingerprint: str | None = None
    """What names the data that are trained on, and their examples; checkpoints of earlier versions have neither."""
    train_examples: int | None = None

    def on(self, fingerprint: str, train_examples: int) -> TrainState:
        """This state on these data. Raises RunFailed('data') where it was saved on others."""
        if self.data_fingerprint not in (None, fingerprint):
            then, now = self.train_examples, train_examples
            counts = (
                f"{then} rows then, {now} now"
                if then != now
                else f"{now} rows, but not the same ones or not read alike"
            )
            raise RunFailed(
                "data",
                f"the data changed since step {self.step}: {counts}",
                "restore the file, or start a new run",
            )
        return replace(self, data_fingerprint=fingerprint, train_examples=train_examples)


class Checkpoints:
    """The checkpoints of one run; every rank calls the same methods."""

    def __init__(self, run: RunDir, ranks: Ranks, keep: int) -> None:
        self._run = run
        self._ranks = ranks
        self._keep = keep
        # The manifest has a sha256 of each file: a checksum within the file, too, takes a third of what writing it takes.
        torch.serialization.set_crc32_options(compute_crc32=False)
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._saved: int | None = None
        """Step of the newest checkpoint that this attempt has resumed from or saved."""
        self.seconds: list[float] = []
        """Of each save, from its beginning until it is on disk; on rank 0."""

    def save(self, strategy: Strategy, state: TrainState) -> float:
        """Copy the state, and let a thread write it while training goes on; returns the seconds that training waited.

        Raises RunFailed('checkpoint' or 'storage') where it can't be written; an error of the thread that writes is raised by the
        next call of any method.
        """
        started = time.perf_counter()
        self.wait()
        if self._saved == state.step:
            return time.perf_counter() - started
        staging = self._run.checkpoints / f".step_{state.step}.new"
        try:
            if self._ranks.is_main:
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(mode=0o700, parents=True)
            self._ranks.barrier()
            write_rest = strategy.save(staging)
            self._ranks.barrier()
        except (OSError, RuntimeError) as error:
            if not _is_disk_error(error):
                raise
            raise RunFailed(*_not_written(error)) from error
        if self._ranks.is_main:
            self._writer = threading.Thread(
                target=self._publish, args=(staging, state, write_rest, started), name=CHECKPOINT_WRITER
            )
            self._writer.start()
        self._saved = state.step
        return time.perf_counter() - started

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk.

        Raises RunFailed('checkpoint' or 'storage') on every rank where it could not be written.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        told = self._ranks.broadcast(_not_written(error) if error else None)
        if told:
            raise RunFailed(*told) from error

    def keep_up(self, step: int, interval: int, waiting: Callable[[], None]) -> float:
        """After `step` steps, wait for the last checkpoint if training is `interval` // MOST_BEHIND steps beyond it.

        Only the rank that writes waits, for so many seconds, after a call of `waiting`; others wait for it in their next step.
        Raises RunFailed('checkpoint' or 'storage'), on that rank alone, as soon as the checkpoint could not be written.
        """
        if self._writer is None or self._saved is None:
            return 0.0
        started = time.perf_counter()
        if self._writer.is_alive() and step - self._saved >= interval // MOST_BEHIND:
            waiting()
            self._writer.join()
        if self._error is not None:
            raise RunFailed(*_not_written(self._error)) from self._error
        return time.perf_counter() - started

    def newest(self, on_bad: Callable[[str], None]) -> tuple[Path, TrainState] | None:
        """The newest checkpoint whose files are all what its manifest says; rank 0 chooses for everyone.

        Newer ones are put aside: they must neither be counted among those to keep nor stand in the way of a new one.
        """
        choice: str | None = None
        if self._ranks.is_main:
            for staging in self._run.checkpoints.glob(".step_*.new"):
                shutil.rmtree(staging, ignore_errors=True)
            for directory in self._run.checkpoint_directories()[::-1]:
                problem = verify(directory) or self._of_another(directory)
                if problem is None or is_of_newer_version(directory):
                    choice = str(directory)  # that of a newer version is refused, not put aside
                    break
                on_bad(f"{directory.name} is not used: {problem}")
                directory.replace(_emptied(directory.with_name(f"{directory.name}.damaged")))
        choice = self._ranks.broadcast(choice)
        if choice is None:
            return None
        _wait_to_see(Path(choice), self._ranks.rank)
        state = read_state(Path(choice))
        self._saved = state.step
        return Path(choice), state

    def _of_another(self, directory: Path) -> str | None:
        """Whether a checkpoint was written by another run, and got here by hand: it has other mathematics behind it."""
        own = owner = self._run.run_id
        with contextlib.suppress(DamagedFile):  # which whoever reads it says
            owner = (read_json(directory / STATE) or {}).get(OWNER, own)
        return None if owner == own else f"it is of another run, {owner}"

    def _publish(
        self, staging: Path, state: TrainState, write_rest: Callable[[], None], started: float
    ) -> None:
        final = self._run.checkpoints / f"step_{state.step}"
        try:
            write_rest()
            write_json(staging / STATE, {OWNER: self._run.run_id, **tree_of(state)})
            sync_tree(staging)
            write_json(staging / MANIFEST, tree_of(Manifest(state.step, _digest(staging))))
            sync(staging)
            staging.rename(final)
            sync(final.parent)
            self.seconds.append(time.perf_counter() - started)
            for old in self._run.checkpoint_directories()[: -self._keep]:
                _remove(old)
        except BaseException as error:  # noqa: BLE001  (raised again by `wait`, in the thread that trains)
            self._error = error
            shutil.rmtree(staging, ignore_errors=True)


def verify(directory: Path) -> str | None:
    """What is wrong with a checkpoint, or None where it holds the files that its manifest names, and no others.

    Each must have the size and sha256 written there.
    """
    try:
        manifest = read_manifest(directory)
        if manifest is None:
            return "no manifest: it was never finished"
        if f"step_{manifest.step}" != directory.name:
            return f"its manifest is that of step {manifest.step}"
        return _compare(directory, manifest.files)
    except DamagedFile as error:
        return f"manifest unreadable: {error}"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def is_of_newer_version(directory: Path) -> bool:
    """Whether the manifest of a checkpoint says something that this version doesn't know."""
    try:
        read_manifest(directory)
    except DamagedFile as error:
        return any(problem.remedy == NEWER for problem in error.problems)
    except OSError:
        pass
    return False


def _wait_to_see(directory: Path, rank: int) -> None:
    """A shared file system may show one node later what another has written.

    Raises RunFailed('storage') where it doesn't within VISIBLE_WITHIN_S.
    """
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    while not (directory / MANIFEST).exists():
        if time.monotonic() > deadline:
            message = (
                f"rank {rank} doesn't see {directory.name}, from which rank 0 goes on, in {directory.parent}"
            )
            raise RunFailed("storage", message, storage_remedy())
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.listdir(directory.parent)  # noqa: PTH208  (has NFS look anew)


def read_state(directory: Path) -> TrainState:
    """state.json of a checkpoint.

    Raises RunFailed('checkpoint') where a newer version wrote it or its manifest, where it is no state, or of another step.
    """
    path = directory / STATE
    try:
        read_manifest(directory)
        tree = {key: value for key, value in (read_json(path) or {}).items() if key != OWNER}
        state = make(TrainState, tree, str(path))
    except DamagedFile as error:
        (problem,) = error.problems
        raise RunFailed("checkpoint", f"{problem.where}: {problem.message}", problem.remedy) from None
    if f"step_{state.step}" != directory.name:
        remedy = f"remove {directory}: the run goes on from the checkpoint before it"
        raise RunFailed("checkpoint", f"{path}: is that of step {state.step}", remedy)
    return state


def _compare(directory: Path, expected: Mapping[str, FileEntry]) -> str | None:
    found = {str(path.relative_to(directory)) for path in files_in(directory)} - {MANIFEST}
    for name in sorted({STATE, *expected} - found):
        return f"{name} is missing"
    for name in sorted(found - expected.keys()):
        return f"{name} is not in its manifest"
    for name, entry in expected.items():
        path = directory / name
        if path.stat().st_size != entry.size:
            return f"{name} has {path.stat().st_size} bytes instead of {entry.size}"
        if _sha256(path) != entry.sha256:
            return f"{name} is damaged"
    return None


def _is_disk_error(error: BaseException) -> bool:
    """torch.save reports a disk that takes no more as a RuntimeError of its zip writer; so do lost peers, of gloo."""
    return isinstance(error, OSError) or "inline_container" in str(error)


def _disk_error_in(error: BaseException) -> OSError | None:
    met: BaseException | None = error
    while met is not None and not isinstance(met, OSError):
        met = met.__context__
    return met


def _not_written(error: BaseException) -> tuple[str, str, str]:
    """Class, message and remedy of a checkpoint that could not be written, in the disk's own words where it was the disk."""
    of_disk = _disk_error_in(error)
    cause = of_disk or error
    message = f"the checkpoint could not be written: {type(cause).__name__}: {cause}".rstrip(": ")
    if of_disk is None and not _is_disk_error(error):
        return "checkpoint", message, NOT_THE_DISK
    if of_disk is not None and of_storage(of_disk):
        return "storage", message, storage_remedy(of_disk)
    in_the_way = of_disk is not None and not takes_no_writes(of_disk)
    return "checkpoint", message, IN_THE_WAY if in_the_way else FREE_SPACE


def _digest(directory: Path) -> dict[str, FileEntry]:
    files = {}
    for path in files_in(directory):
        files[str(path.relative_to(directory))] = FileEntry(path.stat().st_size, _sha256(path))
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def _remove(directory: Path) -> None:
    """Remove a checkpoint so that a half-removed one is never taken for a whole one."""
    (directory / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
