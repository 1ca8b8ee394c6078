"""One W&B run that one process follows: rows go to the client as metrics.jsonl grows, until the training ends."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from launcher.errors import EXIT_OK, EXIT_STOPPED
from launcher.runs.records import MOST_LINE_BYTES, lines_of
from launcher.train.record.alerts import cause, tell_ending
from launcher.train.record.metrics_log import Number
from launcher.train.record.sender import Sender
from launcher.train.record.wandb_client import TrackingJob, one_line, probe
from launcher.train.record.wandb_files import last_step
from launcher.train.record.wandb_results import send_model, tables
from launcher.train.record.wandb_rows import BestSoFar, NodeUse, StepDurations, Steps, Tail

NODES_S = 5.0
FATAL = re.compile(r'filestream: fatal error: (?:filestream: failed to upload: )?(.*?)(?: url=|\\|"|$)')
"""What wandb-core logs when it stops sending the rows of a run for good, as JSON."""


class Following(Protocol):
    """When a session ends."""

    exit_code: int | None
    """The training's, once it has ended in order."""
    ending: threading.Event


class Session:
    """One W&B run being followed by one process."""

    def __init__(self, job: TrackingJob, run: Any, online: bool, control: Following) -> None:
        self._job = job
        self._run = run
        self._online = online
        self._control = control
        self._core_log = CoreLog(Path(run.settings.log_internal))
        self.rows = 0
        """How many rows were handed to the client."""
        settings = job.settings
        sent = run.starting_step - 1 if online else last_step(job.directory, settings.run_id)
        self._steps = Steps(sent)
        self._best = BestSoFar(settings.monitor, settings.monitor_mode)
        self._times = StepDurations()
        self._nodes = NodeUse(settings.directory / "logs")
        self._nodes_at = 0.0
        self._tail = Tail(job.metrics)

    def follow(self, server: str | None) -> Literal["training ended", "server is back", "refused"]:
        """Send lines as they come, until the training ended, `server` answers again or wandb-core sends no more."""
        settings = self._job.settings
        every_s = settings.flush_s if self._online else settings.reconnect_s
        look_again = time.monotonic() + every_s
        while True:
            ending = self._control.ending.is_set()  # asked before reading, so that the last lines are read
            self._send_new()
            if ending:
                return "training ended"
            if time.monotonic() > look_again:
                if self.refusal() is not None:
                    return "refused"
                if server is not None and self._may_go_online(server):
                    return "server is back"
                look_again = time.monotonic() + every_s
            self._control.ending.wait(settings.poll_s)

    def _may_go_online(self, server: str) -> bool:
        settings = self._job.settings
        is_sent = Sender(self._job.directory, "training").holder() is not None
        return not is_sent and probe(server, settings.probe_timeout_s) is None

    def refusal(self) -> str | None:
        """Why W&B gets no more of this session's rows; None as long as it does, and for a run that is offline."""
        return self._core_log.fatal_error() if self._online else None

    def finish(self) -> None:
        """End the W&B run. After a crash the newest step stays back: its evaluation may come in the next attempt."""
        exit_code = self._control.exit_code
        directory = self._job.settings.directory
        self._run.summary.update({**self._times.summary(), **cause(directory, exit_code)})
        if self._job.settings.alerts and self._online:
            tell_ending(self._run, directory, exit_code)
        if exit_code is not None:
            self._log(self._steps.take(), self._results() if exit_code == EXIT_OK else {})
            self._run.summary.update(self._steps.late)
        if exit_code == EXIT_STOPPED:
            self._run.mark_preempting()
        self._run.finish(exit_code=1 if exit_code is None else exit_code)

    def pause(self) -> None:
        """End this process's part of a run that goes on and that nobody follows now: W&B shows it as preempted.

        The newest step stays back, since its evaluation may still come.
        """
        self._run.mark_preempting()
        self._run.finish(exit_code=EXIT_STOPPED)

    def leave(self) -> None:
        """End this process's part of a run that goes on in another."""
        with contextlib.suppress(TimeoutError):  # what was not sent in time is sent by that process
            self._run.finish(exit_code=0)

    def _send_new(self) -> None:
        better = False
        for offset, row in self._tail.read():
            better |= self._best.add(row)
            self._times.add(row)
            self._log(self._steps.add(row, live=offset >= self._job.live_from))
        if better:
            self._run.summary.update(self._best.summary)

    def _node_use(self) -> dict[str, Number]:
        """What the nodes are busy with, on a row now and then."""
        if time.monotonic() < self._nodes_at:
            return {}
        self._nodes_at = time.monotonic() + NODES_S
        return self._nodes.newest()

    def _results(self) -> dict[str, Any]:
        """What the last row of a completed training carries; the best model is sent besides, where that is asked for."""
        import wandb

        settings = self._job.settings
        try:
            if "model" in settings.upload and self._online:
                send_model(wandb, self._run, settings.directory)
            return tables(wandb, settings.directory, mistakes="mistakes" in settings.upload)
        except Exception:  # noqa: BLE001 - wandb raises many kinds, and the rows go without them
            traceback.print_exc()
            return {}

    def _log(self, row: tuple[int, dict[str, Number]] | None, more: Mapping[str, Any] | None = None) -> None:
        if row is not None:
            step, values = row
            self._run.log({**values, **self._node_use(), **(more or {})}, step=step, commit=True)
            self.rows += 1


class CoreLog:
    """The log of wandb-core: it gives up on a run whose upload was refused (401, 403, 404, ...) and says so here alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._error: str | None = None

    def fatal_error(self) -> str | None:
        """What ended the upload of rows, such as `403 Forbidden`; reads only what is new."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            for line in lines_of(file):
                if not line.endswith(b"\n") and len(line) < MOST_LINE_BYTES:
                    break
                self._offset += len(line)
                found = FATAL.search(line.decode(errors="replace"))
                if found and self._error is None:
                    self._error = one_line(found[1])
        return self._error
