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
from launcher.runs.records import GrowingFile
from launcher.train.record.alerts import cause, tell_ending
from launcher.train.record.metrics_log import Number
from launcher.train.record.sender import Sender
from launcher.train.record.tracking import TrackingJob
from launcher.train.record.wandb_client import one_line, probe
from launcher.train.record.wandb_files import last_step
from launcher.train.record.wandb_results import send_model, tables
from launcher.train.record.wandb_rows import BestSoFar, EvaluatedOnce, NodeUse, StepDurations, Steps, new_rows

NODES_S = 5.0
FATAL = re.compile(r'filestream: fatal error: (?:filestream: failed to upload: )?(.*?)(?: url=|\\|"|$)')
"""What wandb-core logs when it stops sending the rows of a run for good, as JSON."""
NO_ARTIFACT = re.compile(r'sender: failed to log artifact: (.*?)(?<!\\)"')
"""What it logs when the server refuses the model, as JSON."""


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
        self._left_out: list[str] = []
        self.rows = 0
        """How many rows were handed to the client."""
        settings = job.settings
        sent = run.starting_step - 1 if online else last_step(job.directory, settings.run_id)
        self._steps = Steps(sent)
        self._best = BestSoFar(settings.monitor, settings.monitor_mode)
        self._once = EvaluatedOnce()
        self._times = StepDurations()
        self._nodes = NodeUse(settings.directory / "logs")
        self._nodes_at = 0.0
        self._metrics = GrowingFile(job.metrics)

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
            self._log(self._steps.take(), self._tables() if exit_code == EXIT_OK else {})
            self._run.summary.update({**self._steps.late, **self._once.summary})
        if exit_code == EXIT_OK and "model" in self._job.settings.upload:
            self._send_model()
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
        for offset, row in new_rows(self._metrics):
            better |= self._best.add(row)
            self._once.add(row)
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

    def _tables(self) -> dict[str, Any]:
        """What the last row of a completed training carries besides."""
        import wandb

        settings = self._job.settings
        try:
            return tables(wandb, settings.directory, mistakes="mistakes" in settings.upload)
        except Exception as error:  # noqa: BLE001 - wandb raises many kinds, and the rows go without them
            traceback.print_exc()
            self._left_out.append(f"the tables are not there ({one_line(error)})")
            return {}

    def _send_model(self) -> None:
        """The best model, once the rows are on their way."""
        import wandb

        settings = self._job.settings
        if not self._online:
            self._left_out.append(f"the model is not there: `launch sync {settings.run_id}` sends it")
            return
        try:
            send_model(wandb, self._run, settings.directory)
        except Exception as error:  # noqa: BLE001 - wandb raises many kinds
            traceback.print_exc()
            self._left_out.append(f"the model is not there ({one_line(error)})")

    def left_out(self) -> str | None:
        """What of the results W&B hasn't got and why, once the session is finished; None where it has all."""
        if (error := self._core_log.artifact_error()) is not None:
            self._left_out.append(f"the server does not take the model ({error})")
        return "; ".join(self._left_out) or None

    def _log(self, row: tuple[int, dict[str, Number]] | None, more: Mapping[str, Any] | None = None) -> None:
        if row is not None:
            step, values = row
            self._run.log({**values, **self._node_use(), **(more or {})}, step=step, commit=True)
            self.rows += 1


class CoreLog:
    """The log of wandb-core: it gives up on a run or a model whose upload was refused (401, 403, ...) and says so here alone."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path)
        self._errors: dict[re.Pattern[str], str] = {}

    def fatal_error(self) -> str | None:
        """What ended the upload of rows, such as `403 Forbidden`; reads only what is new."""
        return self._error(FATAL)

    def artifact_error(self) -> str | None:
        """Why the server has no artifact of the run."""
        return self._error(NO_ARTIFACT)

    def _error(self, kind: re.Pattern[str]) -> str | None:
        self._read()
        return self._errors.get(kind)

    def _read(self) -> None:
        for _, line in self._file.new_lines():
            for kind in (FATAL, NO_ARTIFACT):
                if kind not in self._errors and (found := kind.search(line)):
                    self._errors[kind] = one_line(found[1].replace('\\"', '"'))
