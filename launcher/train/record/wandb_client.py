"""How the W&B client begins: what the training hands over, whether to go online, and the run it makes."""

from __future__ import annotations

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from launcher.errors import UserError
from launcher.train.record.tracking import TrackingJob
from launcher.visible import shortened

KNOWN = "known_to"
"""File beside the run's: the server that has its name and tags."""
HEARD = "stop_heard"
"""File beside the run's: its stop button has been heeded once."""
OLD_PRESS_S = 60.0
"""Time after its beginning in which a client hears of a button that was pressed before; whether the server forgets that when a
run goes on is not said anywhere."""
NO_KEY = "no API key"
YES = frozenset({"1", "true", "yes", "on"})


def choose_mode(job: TrackingJob, wandb: Any) -> tuple[str, str | None, str]:
    """(mode, server to look for again, why it is offline or disabled as words to append)."""
    if job.settings.mode == "offline":
        return "offline", None, ""
    if job.settings.mode == "online":
        be_online()
    settings = wandb.setup().settings
    if job.settings.mode == "auto" and (mode := _mode_of_user(settings.mode)) is not None:
        return mode, None, ", as WANDB_MODE, WANDB_DISABLED or W&B's settings say"
    server: str = settings.base_url
    if job.offline_because is not None:
        return "offline", server if job.may_reconnect else None, f", {job.offline_because}"
    if (failure := no_key(wandb)) is not None:
        return "offline", None, f", {failure}"
    failure = probe(server, job.settings.probe_timeout_s)
    if failure is not None:
        return "offline", server, f", {server} does not answer ({failure})"
    return "online", None, ""


def be_online() -> None:
    """Before wandb reads its settings: go online whatever WANDB_MODE and W&B's own settings say."""
    os.environ["WANDB_MODE"] = "online"


def _mode_of_user(mode: str) -> Literal["offline", "disabled"] | None:
    """What a user has told W&B about all runs, where it isn't to be online. WANDB_DISABLED is what Trainer reads."""
    if mode == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in YES:
        return "disabled"
    return "offline" if mode in {"offline", "dryrun"} else None


def no_key(wandb: Any) -> str | None:
    """Why there is no key for the server, or None where there is one; nobody is asked for it."""
    try:
        return None if wandb.login(verify=False, prompt=False) else NO_KEY
    except Exception as error:  # noqa: BLE001 - a malformed key, a broken netrc
        return f"the API key can't be used ({one_line(error)})"


def refuse_without_key(wandb: Any) -> None:
    """Raises UserError where there is no key for the server."""
    if (failure := no_key(wandb)) is not None:
        text = "there is no key for W&B" if failure == NO_KEY else f"W&B: {failure}"
        raise UserError(text, remedy="wandb login, or set WANDB_API_KEY")


def probe(server: str, timeout_s: float) -> str | None:
    """Ask the server anything; None when it answers, or else what went wrong."""
    request = urllib.request.Request(
        server.rstrip("/") + "/graphql",
        data=b'{"query":"query Probe {__typename}"}',
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(_proxies()))
    try:
        with opener.open(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None if error.code < 500 else f"HTTP {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        # It has answered; whether its certificate is believed is a matter of wandb's settings, and its own authorities.
        return None if isinstance(reason, ssl.SSLCertVerificationError) else one_line(reason)


def _proxies() -> dict[str, str]:
    """Address of the proxy of each scheme, as wandb goes by it: its own variables before those of all programs."""
    own = {scheme: os.environ.get(f"WANDB_{scheme.upper()}_PROXY") for scheme in ("http", "https")}
    return urllib.request.getproxies() | {scheme: address for scheme, address in own.items() if address}


def init_run(
    job: TrackingJob, wandb: Any, mode: str, on_stop: Callable[[], None], say: Callable[[str], None],
    *, measures: bool = True,
) -> Any:  # fmt: skip
    """The W&B run of a job; `on_stop` is called when its stop button is pressed. `measures`: whether wandb may report what
    the machine does that this process is on."""
    settings = job.settings
    button = StopButton(job.directory / HEARD, on_stop, say)

    def pressed() -> None:  # a function, for wandb copies all else in its settings deeply
        button.pressed()

    is_new = not (mode == "online" and _is_known(job, wandb))
    run = wandb.init(
        mode=mode,
        id=settings.run_id,
        resume="allow" if mode == "online" else None,
        project=settings.project,
        entity=settings.entity,
        # Later attempts leave these alone: what somebody has changed on the run's page stays.
        name=(settings.name or settings.run_id) if is_new else None,
        group=settings.group if is_new else None,
        job_type=settings.job_type if is_new else None,
        tags=(list(settings.tags) or None) if is_new else None,
        notes=settings.notes if is_new else None,
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
            stop_fn=pressed,
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
    if mode == "online":
        (job.directory / KNOWN).write_text(_server(wandb))
    button.watched()
    return run


class StopButton:
    """The stop button of a run's page: heeded once, and no more by a later attempt that only hears of the same press."""

    def __init__(self, heard: Path, on_stop: Callable[[], None], say: Callable[[str], None]) -> None:
        self._heard, self._on_stop, self._say = heard, on_stop, say
        self._since = float("inf")

    def watched(self, now: float | None = None) -> None:
        """The client begins to look at it."""
        self._since = time.monotonic() if now is None else now

    def pressed(self) -> None:
        """Stop the run, or say why not."""
        if self._heard.exists() and time.monotonic() < self._since + OLD_PRESS_S:
            self._say(
                "the stop button is still pressed there as it was before, and not heeded: use launch stop"
            )
            return
        self._heard.touch()
        self._on_stop()


def _is_known(job: TrackingJob, wandb: Any) -> bool:
    """Whether the server has had the run's name and tags from here."""
    try:
        return (job.directory / KNOWN).read_text() == _server(wandb)
    except (OSError, UnicodeDecodeError):
        return False


def _server(wandb: Any) -> str:
    return str(wandb.setup().settings.base_url)


def refusal(error: object) -> str:
    """Why the server doesn't take a run, in one line."""
    text = one_line(error)
    if was_deleted(error):
        return f"it was deleted there, and W&B takes no id twice: the project's overview can undelete it ({text})"
    return text


def was_deleted(error: object) -> bool:
    """Whether the server refuses the id of a run that somebody has deleted there."""
    return "previously created and deleted" in str(error)


def one_line(error: object) -> str:
    return shortened(" ".join(str(error).split()) or type(error).__name__, 200)
