"""`launch sync`: a run's record goes to W&B from here, by the real client, each step once.

What the server has already is left out, so it may be interrupted anywhere and done again; while the run trains on, its
own client stays offline.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Mapping
from typing import Any

from launcher.errors import DamagedFile, LauncherError, RunFailed, UserError
from launcher.executors import executor_for
from launcher.executors.shared.environment import OF_SCHEDULERS
from launcher.planning.plan import Plan
from launcher.planning.recorded_plan import recorded_plan
from launcher.runs.directory import RunDir
from launcher.runs.events import Step, last_events
from launcher.runs.files import write_text
from launcher.runs.records import read_json
from launcher.runs.verb_results import Sent
from launcher.train.process.events import Events
from launcher.train.record.ending import Ending
from launcher.train.record.recorder import tracking_settings
from launcher.train.record.repair import put_right
from launcher.train.record.sender import Sender
from launcher.train.record.tracking import TrackingJob, TrackingSettings, client_environment
from launcher.train.record.wandb_client import (
    be_online,
    init_run,
    probe,
    refusal,
    refuse_without_key,
)
from launcher.train.record.wandb_process import mark_synced
from launcher.train.record.wandb_session import Session

FLUSH_S = 5
TRY_AGAIN_S = (5.0, 15.0, 60.0)
"""Between two tries, where the server refuses or loses what is sent."""


def sync(run: RunDir, events: Events, *, follow: bool, flush_s: int = FLUSH_S) -> Sent:
    """Send what W&B lacks of a run. Raises UserError where it can't be sent, RunFailed where the server doesn't take it."""
    _mend(run, events)
    if not run.metrics.is_file():
        raise UserError("has no metrics yet", where=run.run_id, remedy=f"launch status {run.run_id}")
    settings = _settings(run, flush_s)
    (run.path / "wandb").mkdir(exist_ok=True)
    _hide_environment(run)
    import wandb

    _refuse_unreachable(wandb, settings)
    sender = Sender(run.path / "wandb", "sync")
    if (holder := sender.claim()) is not None:
        remedy = f"launch status {run.run_id} names its page; once that process is gone, sync it again"
        raise UserError(f"is being sent by {holder}", where=run.run_id, remedy=remedy)
    ending = Ending(run, follow=follow)
    try:
        return _send(run, settings, ending, events)
    finally:
        sender.release()


def _mend(run: RunDir, events: Events) -> None:
    """Put the record right where no training writes it any more, which its scheduler may not tell."""
    with contextlib.suppress(LauncherError), run.locked():
        if executor_for(run.read_plan().executor).state(run).active:
            return
        result = run.read_result()
        told = [event.step for event in last_events(run.events) if isinstance(event, Step)]
        put_right(run, max([*told, 0 if result is None else result.steps or 0]), events)


def _hide_environment(run: RunDir) -> None:
    """Leave the client what it needs alone, as beside a training; a scheduler's commands need to find their cluster."""
    kept = {name: os.environ[name] for name in OF_SCHEDULERS if name in os.environ}
    chosen = client_environment(run.path / "wandb")
    os.environ.clear()
    os.environ.update(chosen | kept)
    be_online()


def _send(run: RunDir, settings: TrackingSettings, ending: Ending, events: Events) -> Sent:
    """Follow the record to the end of what is to be followed, in as many sessions as the server makes necessary."""
    rows, url, refused = 0, None, ""
    for pause_s in (*TRY_AGAIN_S, 0.0):
        session, url = _session(run, settings, ending, events)
        end = session.follow(None)
        refused = session.refusal() or ""
        if end == "refused" or refused:
            session.leave()
        else:
            refused = _finish(session, ending)
        rows += session.rows
        if not refused:
            has_ended = ending.exit_code is not None
            if has_ended:
                mark_synced(run.path / "wandb", run.run_id)
            if (missing := session.left_out()) is not None:
                events.notice(missing, "warning")
            return Sent(run.run_id, rows, url, has_ended)
        events.notice(f"the server doesn't take it ({refused})", "warning")
        time.sleep(pause_s)
    remedy = f"launch sync {run.run_id} sends the rest; nothing is lost"
    raise RunFailed("tracking", f"{run.run_id}: the server doesn't take it ({refused})", remedy)


def _finish(session: Session, ending: Ending) -> str:
    """End the session's part; why it wasn't taken whole, or nothing."""
    try:
        session.finish() if ending.exit_code is not None else session.pause()
    except TimeoutError:
        return "no answer in time"
    return session.refusal() or ""


def _session(run: RunDir, settings: TrackingSettings, ending: Ending, events: Events) -> tuple[Session, str]:
    import wandb

    size = run.metrics.stat().st_size
    job = TrackingJob(
        settings=settings,
        metrics=run.metrics,
        live_from=size,
        offline_because=None,
        may_reconnect=False,
        may_be_offline=False,
        trainer_pid=os.getpid(),
    )
    try:
        opened = init_run(
            job, wandb, "online", lambda: write_text(run.stop, "wandb\n"), events.notice, measures=False
        )
    except Exception as error:  # noqa: BLE001 - wandb raises many kinds
        traceback.print_exc()
        remedy = "look at tracking.wandb.project and entity of the recipe, and at wandb login"
        raise RunFailed("tracking", f"W&B does not take the run ({refusal(error)})", remedy) from None
    events.notice(f"{run.run_id}: {opened.url}")
    return Session(job, opened, True, ending), str(opened.url)


def _settings(run: RunDir, flush_s: int) -> TrackingSettings:
    """As the training's own client has them."""
    plan = recorded_plan(run.plan)
    settings = tracking_settings(run, plan, _config(run, plan))
    return TrackingSettings(**{**vars(settings), "flush_s": flush_s, "mode": "online", "alerts": False})


def _config(run: RunDir, plan: Plan) -> Mapping[str, Any]:
    """What W&B shows as the run's configuration: what its training has told, or what its plan says."""
    try:
        told = read_json(run.path / "wandb" / "tracker.json") or {}
    except DamagedFile:
        told = {}
    settings = told.get("settings")
    config = settings.get("config") if isinstance(settings, dict) else None
    left_out = ("recipe", "cluster", "python")
    planned = {
        "recipe": plan.recipe.tree(),
        "plan": {key: value for key, value in plan.tree().items() if key not in left_out},
        "run_id": run.run_id,
    }
    return config if isinstance(config, dict) else planned


def _refuse_unreachable(wandb: Any, settings: TrackingSettings) -> None:
    """Raises UserError where there is no key, or no server."""
    server = wandb.setup().settings.base_url
    refuse_without_key(wandb)
    if (failure := probe(server, settings.probe_timeout_s)) is not None:
        raise UserError(f"{server} does not answer ({failure})", remedy="is this machine online?")
