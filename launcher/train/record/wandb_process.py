"""The W&B client, in a process of its own: follows metrics.jsonl until the training ends, or dies.

It hears the training on standard input (an exit code: finish; end of file: the training is dead) and speaks on standard
output, one JSON event a line. One process is one `wandb.init`: where that can't go on, `tracking.py` starts another.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

from launcher.errors import EXIT_STOPPED
from launcher.train.record.alerts import tell_ending
from launcher.train.record.metrics_log import Number
from launcher.train.record.sender import Sender
from launcher.train.record.tracking import LATE, TrackingSettings
from launcher.train.record.wandb_files import last_step
from launcher.train.record.wandb_rows import Best, NodeUse, Steps, StepTimes, Tail

NICENESS = 10
LOCK_WAIT_S = 60.0
NODES_S = 5.0
FATAL = re.compile(r'filestream: fatal error: (?:filestream: failed to upload: )?(.*?)(?: url=|\\|"|$)')
"""What wandb-core logs when it stops sending the rows of a run for good, as JSON."""


@dataclass(frozen=True)
class Job:
    """What the training hands over in `wandb/tracker.json`."""

    settings: TrackingSettings
    metrics: Path
    live_from: int
    """Offset in `metrics`: what follows was recorded by this attempt."""
    offline_because: str | None
    """Why going online has just failed."""
    may_reconnect: bool
    """Whether to go online when the server is back."""
    may_be_offline: bool
    """False once rows were refused: the files hold them as if they had been sent, so an offline part would lack them."""
    trainer_pid: int

    @classmethod
    def read(cls, path: Path) -> Job:
        fields = json.loads(path.read_text())
        settings = fields["settings"]
        settings.update(directory=Path(settings["directory"]), tags=tuple(settings["tags"]))
        return cls(
            settings=TrackingSettings(**settings),
            metrics=Path(fields["metrics"]),
            live_from=fields["live_from"],
            offline_because=fields["offline_because"],
            may_reconnect=fields["may_reconnect"],
            may_be_offline=fields["may_be_offline"],
            trainer_pid=fields["trainer_pid"],
        )

    @property
    def directory(self) -> Path:
        return self.settings.directory / "wandb"


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


class Following(Protocol):
    """When a session ends."""

    exit_code: int | None
    """The training's, once it has ended in order."""
    ending: threading.Event


class Session:
    """One W&B run being followed by one process."""

    def __init__(self, job: Job, run: Any, online: bool, control: Following) -> None:
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
        self._best = Best(settings.monitor, settings.monitor_mode)
        self._times = StepTimes()
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
        self._run.summary.update(self._times.summary())
        if self._job.settings.alerts and self._online:
            tell_ending(self._run, self._job.settings.directory, exit_code)
        if exit_code is not None:
            self._log(self._steps.take())
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

    def _log(self, row: tuple[int, dict[str, Number]] | None) -> None:
        if row is not None:
            step, values = row
            self._run.log({**values, **self._node_use()}, step=step, commit=True)
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
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                found = FATAL.search(line.decode(errors="replace"))
                if found and self._error is None:
                    self._error = one_line(found[1])
        return self._error


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
    try:
        job = Job.read(Path(path))
        control = Control(job.trainer_pid, patience_s=job.settings.finish_timeout_s + 10)
        with _alone(job.directory / ".lock"):
            code = _track(job, control)
    except Exception:  # noqa: BLE001 - the log is where someone looks; tracking.py starts another process
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # no exit hooks: wandb's waits for uploads without a bound


def _track(job: Job, control: Control) -> int:
    mode = "unknown"
    try:
        import wandb

        mode, server, reason = choose_mode(job, wandb)
        if mode == "disabled":
            control.tell("started", mode="disabled")
            control.tell("unavailable")
            return 0
        if mode == "online" and (holder := Sender(job.directory, "training").claim()) is not None:
            mode, reason = "offline", f", {holder} sends it"
        if mode == "offline" and not job.may_be_offline:
            control.tell("refused")
            return 0
        run = init_run(job, wandb, mode, lambda: control.tell("stop"))
    except Exception as error:  # noqa: BLE001 - wandb raises many kinds
        traceback.print_exc()
        if mode == "online" and not job.may_be_offline:
            control.tell("refused")
        elif mode == "online":
            control.tell("offline", reason=f"could not start online ({one_line(error)})")
        else:
            control.tell(
                "unavailable", notice=f"not tracking ({one_line(error)}); metrics.jsonl has everything"
            )
        return 0
    online = mode == "online"
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
    refusal = session.refusal()
    if refusal is not None:
        control.tell(
            "refused", notice=f"the server refused rows ({refusal}); metrics.jsonl has them for later"
        )
        return False
    control.tell("finished")
    return True


def choose_mode(job: Job, wandb: Any) -> tuple[str, str | None, str]:
    """(mode, server to look for again, why it is offline as words to append)."""
    wanted: str = job.settings.mode
    if wanted == "auto":
        wanted = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}.get(
            os.environ.get("WANDB_MODE", ""), "auto"
        )
    if wanted in {"offline", "disabled"}:
        return wanted, None, ""
    server: str = wandb.setup().settings.base_url
    if job.offline_because is not None:
        return "offline", server if job.may_reconnect else None, f", {job.offline_because}"
    try:
        if not wandb.login(verify=False, prompt=False):
            return "offline", None, ", no API key"
    except Exception as error:  # noqa: BLE001 - a malformed key, a broken netrc
        return "offline", None, f", the API key can't be used ({one_line(error)})"
    failure = probe(server, job.settings.probe_timeout_s)
    if failure is not None:
        return "offline", server, f", {server} does not answer ({failure})"
    return "online", None, ""


def probe(server: str, timeout_s: float) -> str | None:
    """Ask the server anything; None when it answers, or else what went wrong."""
    request = urllib.request.Request(
        server.rstrip("/") + "/graphql",
        data=b'{"query":"query Probe {__typename}"}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None if error.code < 500 else f"HTTP {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return one_line(getattr(error, "reason", error))


def init_run(job: Job, wandb: Any, mode: str, on_stop: Callable[[], None], *, measures: bool = True) -> Any:
    """The W&B run of a job; `on_stop` is called when its stop button is pressed. `measures`: whether wandb may report what
    the machine does that this process is on."""
    settings = job.settings
    run = wandb.init(
        mode=mode,
        id=settings.run_id,
        resume="allow" if mode == "online" else None,
        project=settings.project,
        entity=settings.entity,
        name=settings.name or settings.run_id,
        group=settings.group,
        job_type=settings.job_type,
        tags=list(settings.tags) or None,
        notes=settings.notes,
        config=dict(settings.config),
        dir=str(settings.directory),
        settings=wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            silent=True,
            program="launcher",
            x_save_requirements=False,
            x_stats_pid=job.trainer_pid,
            x_disable_stats=not measures,
            stop_fn=on_stop,
            init_timeout=settings.init_timeout_s,
            finish_timeout=settings.finish_timeout_s,
            finish_timeout_raises=True,
            x_service_wait=60,
            x_file_stream_transmit_interval=settings.flush_s,
            x_transaction_log_flush_interval=settings.flush_s,
        ),
    )
    if settings.monitor:
        run.define_metric(settings.monitor, summary=f"last,{settings.monitor_mode}")
    return run


def one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def mark_synced(directory: Path, run_id: str) -> None:
    """Keep `wandb sync` from sending the offline parts of a run that the server now has in full."""
    for file in directory.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"):
        Path(f"{file}.synced").touch()


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
