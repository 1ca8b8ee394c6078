"""Resumable state on disk: staged, hashed, its manifest written last, verified before it is used.

    checkpoints/step_N/
      model.pt optimizer.pt | engine/   weights that train, optimizer (plain | DeepSpeed)
      state.json                        where the run stands
      manifest.json                     every file with size and sha256; a directory without it is not a checkpoint

Dropout and data order are functions of (seed, step, rank), so no random-number state has to be kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.errors import RunFailed
from launcher.run import RunDir, read_json, write_json
from launcher.train.distributed import Ranks
from launcher.train.strategy import Strategy

MANIFEST = "manifest.json"
STATE = "state.json"


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
    skipped_steps: int = 0
    """Steps left out by fp16 overflow."""
    wall_s: float = 0.0
    """Seconds of training over all attempts."""


class Checkpoints:
    """The checkpoints of one run; every rank calls the same methods."""

    def __init__(self, run: RunDir, ranks: Ranks, keep: int) -> None:
        self._run = run
        self._ranks = ranks
        self._keep = keep
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, strategy: Strategy, state: TrainState) -> float:
        """Take a copy of the state and write it behind the training's back; returns the seconds training waited.

        An error of the write before this one is raised here.
        """
        started = time.perf_counter()
        self.wait()
        final = self._run.checkpoints / f"step_{state.step}"
        staging = self._run.checkpoints / f".step_{state.step}.new"
        if self._ranks.broadcast((final / MANIFEST).is_file() if self._ranks.is_main else None):
            return time.perf_counter() - started
        if self._ranks.is_main:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(mode=0o700, parents=True)
        self._ranks.barrier()
        write_rest = strategy.save(staging)
        self._ranks.barrier()
        if self._ranks.is_main:
            self._writer = threading.Thread(
                target=self._publish, args=(staging, final, state, write_rest), name="checkpoint-writer"
            )
            self._writer.start()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk. Raises RunFailed('checkpoint') on every rank where it could not be written."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        message = self._ranks.broadcast(f"{type(error).__name__}: {error}" if error else None)
        if message:
            raise RunFailed(
                "checkpoint",
                f"the checkpoint could not be written: {message}",
                "free space on the run directory's disk",
            )

    def newest(self, on_bad: Callable[[str], None]) -> tuple[Path, TrainState] | None:
        """The newest checkpoint whose files are all what its manifest says; rank 0 chooses for everyone."""
        choice: tuple[str, dict[str, Any]] | None = None
        if self._ranks.is_main:
            for directory in self._on_disk()[::-1]:
                problem = verify(directory)
                if problem is None:
                    choice = (str(directory), read_json(directory / STATE) or {})
                    break
                on_bad(f"{directory.name} is not used: {problem}")
        choice = self._ranks.broadcast(choice)
        return None if choice is None else (Path(choice[0]), TrainState(**choice[1]))

    def _publish(self, staging: Path, final: Path, state: TrainState, write_rest: Callable[[], None]) -> None:
        try:
            write_rest()
            write_json(staging / STATE, asdict(state))
            write_json(staging / MANIFEST, {"step": state.step, "files": _digest(staging)})
            _sync_directory(staging)
            shutil.rmtree(final, ignore_errors=True)
            staging.rename(final)
            _sync_directory(final.parent)
            for old in self._on_disk()[: -self._keep]:
                _remove(old)
        except BaseException as error:
            self._error = error
            shutil.rmtree(staging, ignore_errors=True)

    def _on_disk(self) -> list[Path]:
        """Directories that claim to be checkpoints, oldest first."""
        found = [p for p in self._run.checkpoints.glob("step_*") if p.name[5:].isdigit() and p.is_dir()]
        return sorted(found, key=lambda path: int(path.name[5:]))


def verify(directory: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every file has the size and sha256 that its manifest names."""
    try:
        manifest = read_json(directory / MANIFEST)
    except (ValueError, AssertionError, OSError) as error:
        return f"manifest unreadable ({type(error).__name__})"
    if manifest is None:
        return "no manifest: it was never finished"
    for name, expected in manifest.get("files", {}).items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} bytes instead of {expected['size']}"
        if _sha256(path) != expected["sha256"]:
            return f"{name} is damaged"
    return None


def _digest(directory: Path) -> dict[str, dict[str, Any]]:
    files = {}
    for path in _files(directory):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[str(path.relative_to(directory))] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    return files


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    """Remove a checkpoint so that a half-removed one is never taken for a whole one."""
    (directory / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
