"""How the W&B client begins: what the training hands over, whether to go online, and the run it makes."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.train.record.tracking import TrackingSettings


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

    @classmethod
    def read(cls, path: Path) -> TrackingJob:
        fields = json.loads(path.read_text())
        settings = fields["settings"]
        settings.update(directory=Path(settings["directory"]))
        settings.update({name: tuple(settings[name]) for name in ("tags", "upload")})
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


def choose_mode(job: TrackingJob, wandb: Any) -> tuple[str, str | None, str]:
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


def init_run(
    job: TrackingJob, wandb: Any, mode: str, on_stop: Callable[[], None], *, measures: bool = True
) -> Any:
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
            sweep_id=settings.sweep,
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
