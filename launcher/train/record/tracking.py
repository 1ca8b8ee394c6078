"""Weights & Biases beside the training, never in its way.

The client runs in a process of its own (`wandb_process.py`), which reads `metrics.jsonl` as it grows. So no queue can
overflow, what W&B missed is still in the file for the next attempt, and nothing that wandb does to the process it lives
in (exit hooks, signals, threads, native crashes) reaches the training. Here is only what starts that process, listens
to it and starts it again.

    rank 0 --> metrics.jsonl --> wandb_process --> wandb-core --> server
       ^                              |
       +------ notices, stop ---------+
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from launcher.runs.records import tree_of
from launcher.train.record.metrics_log import MetricsLog

MAX_FAILURES = 5
"""Sessions of the client that may end badly before this attempt goes on with metrics.jsonl alone."""
MAX_REFUSALS = 3
"""Times that going online may fail before this attempt stays offline."""
CLIENT_IS_WELL_AFTER_S = 600.0
"""A session that lasted longer wipes out the failures, and the refusals of rows, before it."""
LATE = "the last rows could not be sent in time; a later attempt, or `launch sync`, sends them from metrics.jsonl"
PACKAGE_ROOT = Path(__file__).resolve().parents[3]
# This package and no other of that name, wherever the training was started; without -m, for -P keeps the directory out.
CLIENT = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from launcher.train.record.wandb_process import main
main(sys.argv[2])
"""

# The client gets what it needs to reach the server, and nothing that it would report of its own accord (SLURM_*).
ENVIRONMENT = re.compile(
    "HOME|PATH|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|LANG|LC_.*|XDG_.*|PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX|LD_LIBRARY_PATH"
    "|NETRC|KRB5CCNAME|(?i:(http|https|all|no)_proxy)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)"
    # Of W&B's own: who we are, where the server is and how it is reached, and whether it is wanted. What the run is called,
    # and what it goes on from, is the recipe's business.
    "|WANDB_(API_KEY|IDENTITY_TOKEN_FILE|CREDENTIALS_FILE|CONFIG_DIR|USERNAME|USER_EMAIL|ORGANIZATION)"
    "|WANDB_(BASE_URL|APP_URL|HTTPS?_PROXY|HTTP_TIMEOUT|FILE_PUSHER_TIMEOUT|INSECURE_DISABLE_SSL|HOST|(CORE_)?DEBUG)"
    "|WANDB_(MODE|DISABLED|_(EXTRA_HTTP_HEADERS|PROXIES|(GRAPHQL|FILE_STREAM|FILE_TRANSFER)_(RETRY|TIMEOUT).*))"
    "|CUDA_VISIBLE_DEVICES|NVIDIA_.*"
)
DECIDED_HERE = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_SAVE_CODE": "false",
    "WANDB_SILENT": "true",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class TrackingSettings:
    """What W&B is told about a run, and how patient we are with it."""

    run_id: str
    """Id of the run, there as here: one W&B run over all attempts."""
    directory: Path
    """The run directory; W&B's files go to `wandb/` in it."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto and online: offline where there is no key or the server doesn't answer; auto also heeds WANDB_MODE."""
    project: str = "launcher"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Recipe, plan, commit, job ids, versions: all that is shown as the run's config. Must hold no secrets."""
    alerts: bool = False
    """Whether W&B tells the user how the run ended."""
    upload: tuple[str, ...] = ()
    """What goes there besides: `mistakes`, `model`."""
    sweep: str | None = None
    """Sweep of W&B's that the run belongs to."""
    monitor: str | None = None
    """Metric whose best value stands in the summary, such as `eval/accuracy`."""
    monitor_mode: Literal["max", "min"] = "max"
    flush_s: int = 15
    """Time between uploads, and between flushes of an offline run's file; whole seconds, for wandb knows no others."""
    poll_s: float = 0.5
    """Time between looks at metrics.jsonl."""
    probe_timeout_s: float = 5.0
    """Time that the server has to answer before the run starts offline."""
    init_timeout_s: float = 60.0
    """Time that `wandb.init` has before the run goes on offline."""
    finish_timeout_s: float = 30.0
    """Time for the last uploads at the end."""
    reconnect_s: float = 300.0
    """Time between looks whether the server is back, for a run that is offline because it was away; after rows were
    refused, the time to the next try, doubled by each."""

    def __post_init__(self) -> None:
        if not self.run_id or "/" in self.run_id:
            raise ValueError(f"not a run id: {self.run_id!r}")
        if self.flush_s < 1:
            raise ValueError(f"flush_s is whole seconds, at least 1: {self.flush_s}")


@dataclass(frozen=True)
class TrackingJob:
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

    @property
    def directory(self) -> Path:
        return self.settings.directory / "wandb"


class Tracker:
    """Keeps a W&B client running beside the training; every method returns at once, but `finish`, which is bounded."""

    def __init__(
        self, settings: TrackingSettings, log: MetricsLog, on_stop: Callable[[], None] | None = None
    ) -> None:
        self.mode: str | None = "disabled" if settings.mode == "disabled" else None
        """`online`, `offline`, `disabled`, or None while that isn't known yet."""
        self.url: str | None = None
        """The run's page, when it is online."""
        self._settings = settings
        self._metrics = log.path.resolve()
        self._live_from = log.opened_at
        self._on_stop = on_stop
        self._notices: list[str] = []
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_code: int | None = None
        self._finishing = threading.Event()
        self._abandoned = False
        self._offline_because: str | None = None
        self._refusals = 0
        self._rows_were_refused = False
        self._thread = threading.Thread(target=self._supervise, name="tracking", daemon=True)
        if settings.mode != "disabled":
            self._thread.start()

    def notices(self) -> list[str]:
        """What has to be said about tracking since the last call: one line each."""
        with self._lock:
            said, self._notices = self._notices, []
        return said

    def finish(self, exit_code: int, timeout_s: float | None = None) -> None:
        """Send the rest and end the W&B run, as stopped for 75; gives up after `timeout_s`, losing nothing of the record."""
        if not self._thread.is_alive() or self._finishing.is_set():
            return
        with self._lock:
            self._exit_code = exit_code
            self._tell_to_finish()
        self._finishing.set()
        self._thread.join(self._settings.finish_timeout_s + 15 if timeout_s is None else timeout_s)
        if self._thread.is_alive():
            self._abandon()

    def _supervise(self) -> None:
        failures = refusals = 0
        try:
            while not self._abandoned and failures < MAX_FAILURES:
                started, is_last = time.monotonic(), self._finishing.is_set()
                end = self._session()
                was_well = time.monotonic() - started > CLIENT_IS_WELL_AFTER_S
                if end in {"finished", "unavailable"}:
                    return
                if end == "refused" and is_last:
                    self._say(f"W&B: {LATE}")
                    return
                if (
                    end == "refused"
                ):  # each session leaves a file with what it tried to send, hence ever more rarely
                    refusals = 1 + (0 if was_well else refusals)
                    self._finishing.wait(self._settings.reconnect_s * 2.0 ** (refusals - 1))
                if end == "failed":
                    failures = 1 + (0 if was_well else failures)
                    self._finishing.wait(min(60.0, 2.0**failures))
            if failures:
                self._say("W&B: gave up after repeated failures; metrics.jsonl goes on")
        except Exception as error:  # noqa: BLE001 - whatever happens to tracking, training goes on
            self._say(f"W&B: not tracking ({type(error).__name__}: {error}); metrics.jsonl goes on")

    def _session(self) -> str:
        """Run the client until it ends; how it ended: `finished`, `unavailable`, `again`, `refused` or `failed`."""
        end = "failed"
        with self._start() as process:
            assert process.stdout is not None
            for line in process.stdout:
                with contextlib.suppress(ValueError, KeyError):
                    end = self._hear(json.loads(line)) or end
        if end == "failed" and not self._abandoned:
            self._say(f"W&B: the client ended unexpectedly (code {process.returncode}); starting it again")
        return end

    def _start(self) -> subprocess.Popen[bytes]:
        directory = self._settings.directory.resolve() / "wandb"
        directory.mkdir(exist_ok=True)
        job = directory / "tracker.json"
        job.write_text(json.dumps(tree_of(self._job()), default=str, indent=1))
        with (directory / "tracker.log").open("ab") as errors, self._lock:
            # Its own session: signals to the training's process group, and those of a terminal, are not for it. When
            # the training dies without a word, the end of its standard input tells it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", CLIENT, str(PACKAGE_ROOT), str(job)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=client_environment(directory),
                start_new_session=True, bufsize=0,
            )  # fmt: skip
            self._tell_to_finish()
            if self._abandoned:
                self._process.kill()
        return self._process

    def _job(self) -> TrackingJob:
        return TrackingJob(
            replace(self._settings, directory=self._settings.directory.resolve()),
            self._metrics,
            self._live_from,
            self._offline_because,
            may_reconnect=self._refusals < MAX_REFUSALS,
            may_be_offline=not self._rows_were_refused,
            trainer_pid=os.getpid(),
        )

    def _hear(self, event: Mapping[str, Any]) -> str | None:
        """Act on what the client says; the way its session ends, where it says so."""
        if event.get("notice"):
            self._say(f"W&B: {event['notice']}")
        match event["event"]:
            case "started":
                self.mode, self.url = event["mode"], event.get("url")
            case "stop":
                self._stop()
            case "offline":  # the client can't come online in that process any more: a new one begins offline
                self._offline_because = event["reason"]
                self._refusals += MAX_REFUSALS if event["for_good"] else 1
                return "again"
            case "reconnect":
                self._offline_because = None
                return "again"
            case "refused":  # wandb-core has given up on the run: a new client sends what the server lacks
                self._rows_were_refused = True
                return "refused"
            case "finished" | "unavailable" as end:
                return str(end)
        return None

    def _stop(self) -> None:
        self._say("W&B: stop was requested on the run's page")
        if self._on_stop is not None:
            try:
                self._on_stop()
            except Exception as error:  # noqa: BLE001 - the caller's mistake must not end tracking
                self._say(f"W&B: the stop request failed ({type(error).__name__}: {error})")

    def _tell_to_finish(self) -> None:
        if self._exit_code is None or self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{self._exit_code}\n".encode())

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._process is not None:
                self._process.kill()
        self._thread.join(5)
        self._say(f"W&B: {LATE}")

    def _say(self, text: str) -> None:
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self._notices.append(text)


def client_environment(directory: Path) -> dict[str, str]:
    """The variables of a process with a W&B client, whose own files go to this directory."""
    chosen = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
    if "WANDB_API_KEY" in chosen:  # as it stands in a file with a line end
        chosen["WANDB_API_KEY"] = chosen["WANDB_API_KEY"].strip()
    places = {"WANDB_DATA_DIR": str(directory / "data"), "WANDB_CACHE_DIR": str(directory / "cache")}
    return {**chosen, **places, **DECIDED_HERE}
