"""The W&B client, in a process of its own: follows metrics.jsonl until the training ends, or dies.

It hears the training on standard input (an exit code: finish; end of file: the training is dead) and speaks on standard
output, one JSON event a line. One process is one `wandb.init`: where that can't go on, `tracking.py` starts another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from launcher import start_up
from launcher.runs.records import make, read_json
from launcher.runs.wandb_parts import LACKING
from launcher.train.record.sender import Sender
from launcher.train.record.tracking import LATE, TrackingJob
from launcher.train.record.wandb_client import (
    choose_mode,
    init_run,
    one_line,
    refusal,
    was_deleted,
)
from launcher.train.record.wandb_session import Session

NICENESS = 10
LOCK_WAIT_S = 60.0


class Control:
    """What the training wants: nothing, an orderly end, or, when it is dead, an end soon."""

    def __init__(self, trainer_pid: int, patience_s: float) -> None:
        self.exit_code: int | None = None
        """The training's exit code, once it has ended in order."""
        self.ending = threading.Event()
        self._trainer_pid = trainer_pid
        self._patience_s = patience_s
        # wandb-core inherits the standard streams; these two are ours alone, or a lingering core would keep them open.
        self._input, self._output = os.dup(0), os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def tell(self, event: str, **fields: Any) -> None:
        """Say something to the training, which may be dead."""
        with contextlib.suppress(OSError):
            os.write(self._output, json.dumps({"event": event, **fields}).encode() + b"\n")

    def say(self, text: str) -> None:
        """Have the training say something."""
        self.tell("notice", notice=text)

    def _listen(self) -> None:
        orphaned = False
        while not orphaned:
            ready, _, _ = select.select([self._input], [], [], 2.0)
            words = os.read(self._input, 100).split() if ready else None
            # A forked worker of the training may hold the other end open, hence the second look.
            orphaned = words == [] or os.getppid() != self._trainer_pid
            if words:
                self.exit_code = int(words[0])
            if words or orphaned:
                self.ending.set()
        # An orderly end is bounded by the training, which kills this process; without it, we bound ourselves.
        time.sleep(self._patience_s)
        os._exit(4)


def main(path: str) -> NoReturn:
    """Follow the run that `path` describes; always ends by itself once the training does."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGQUIT,
    ):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    start_up.without_plugins()
    try:
        job = make(TrackingJob, read_json(Path(path)) or {}, path)
        control = Control(job.trainer_pid, patience_s=job.settings.finish_timeout_s + 10)
        with _alone(job.directory / ".lock"), _own_temporary_files():
            code = _track(job, control)
    except Exception:  # noqa: BLE001 - the log is where someone looks; tracking.py starts another process
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # no exit hooks: wandb's waits for uploads without a bound


def _track(job: TrackingJob, control: Control) -> int:
    mode = "unknown"
    try:
        with start_up.without_collections():
            import wandb

        mode, server, reason = choose_mode(job, wandb)
        if mode == "disabled":
            control.tell("started", mode="disabled")
            control.tell("unavailable", notice=f"disabled{reason}; metrics.jsonl has everything")
            return 0
        if mode == "online" and (holder := Sender(job.directory, "training").claim()) is not None:
            mode, reason = "offline", f", {holder} sends it"
        if mode == "offline" and not job.may_be_offline:
            control.tell("refused")
            return 0
        run = init_run(job, wandb, mode, lambda: control.tell("stop"), control.say)
    except Exception as error:  # noqa: BLE001 - wandb raises many kinds
        traceback.print_exc()
        if mode == "online" and not job.may_be_offline:
            control.tell("refused", notice=refusal(error) if was_deleted(error) else None)
        elif mode == "online":
            reason = f"could not start online ({refusal(error)})"
            control.tell("offline", reason=reason, for_good=was_deleted(error))
        else:
            control.tell(
                "unavailable", notice=f"not tracking ({one_line(error)}); metrics.jsonl has everything"
            )
        return 0
    online = mode == "online"
    if online:
        (job.directory / LACKING).touch()
    where = (
        f"online, {run.url}" if online else f"offline{reason}; `launch sync {job.settings.run_id}` sends it"
    )
    control.tell("started", mode=mode, url=run.url if online else None, notice=where)
    complete = _follow(Session(job, run, online, control), server, control)
    if online and complete:
        mark_synced(job.directory, job.settings.run_id)
    return 0


def _follow(session: Session, server: str | None, control: Control) -> bool:
    """Follow the training to its end; whether W&B got everything."""
    end = session.follow(server)
    if end == "server is back":
        session.leave()
        control.tell("reconnect", notice="the server answers again; going online")
        return False
    if end == "refused":
        session.leave()
    else:
        try:
            session.finish()
        except TimeoutError:
            control.tell("finished", notice=LATE)
            return False
    refused = session.refusal()
    if refused is not None:
        control.tell(
            "refused", notice=f"the server refused rows ({refused}); metrics.jsonl has them for later"
        )
        return False
    control.tell("finished", notice=session.left_out())
    return True


def mark_synced(directory: Path, run_id: str) -> None:
    """Note that the server now has a run in full, also for `wandb sync`, which would send its offline parts again."""
    (directory / LACKING).unlink(missing_ok=True)
    for part in directory.glob(f"offline-run-*/run-{run_id}.wandb"):
        part.with_name(f"{part.name}.synced").touch()


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Remove what wandb lays down beside, some directories for each run, which it does itself in its exit hooks alone."""
    with tempfile.TemporaryDirectory(prefix="launch-wandb-", ignore_cleanup_errors=True) as directory:
        before, tempfile.tempdir = tempfile.tempdir, directory
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait for the client of an attempt that has just died; two would give W&B the same steps."""
    with path.open("w") as file:
        patience = time.monotonic() + LOCK_WAIT_S
        while time.monotonic() < patience:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
            except OSError:  # a file system without locks
                break
        yield
