"""What rank 0 writes down about a run: metrics.jsonl, which Weights & Biases follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launcher import tasks
from launcher.planning.plan import Plan
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text
from launcher.train.process.events import Events
from launcher.train.record.metrics_log import MetricsLog, Number, Split
from launcher.train.record.repair import put_right
from launcher.train.record.tracking import Tracker, TrackingSettings

MODEL_TIMEOUT_S = 180.0
"""Time for the last uploads where the best model is one of them; it may hold the end of a training up for so long."""


class MetricsRecorder:
    """The metrics of a run, on rank 0 alone."""

    def __init__(self, log: MetricsLog, tracker: Tracker, events: Events) -> None:
        self._log = log
        self._tracker = tracker
        self._events = events
        self._page: str | None = None

    def train(self, step: int, values: Mapping[str, Number]) -> None:
        """The line of an optimizer step."""
        self._log.train(step, values)
        self._pass_on_notices()

    def eval(self, step: int, split: Split, values: Mapping[str, Number]) -> None:
        """The line of an evaluation."""
        self._log.eval(step, split, values)

    def sync(self) -> None:
        """Put all lines on disk: before a checkpoint, whose steps are not done again."""
        self._log.sync()

    def page(self) -> str | None:
        """Address of the run's page at W&B, where it is online."""
        return self._tracker.url

    def finish(self, exit_code: int) -> None:
        """End the W&B run, within bounded time, and close the file."""
        self._tracker.finish(exit_code)
        self._pass_on_notices()
        self._log.close()

    def _pass_on_notices(self) -> None:
        for text in self._tracker.notices():
            self._events.notice(text)
        if self._tracker.url is not None and self._tracker.url != self._page:
            self._page = self._tracker.url
            self._events.emit("tracking", url=self._page)


class NoRecord(MetricsRecorder):
    """What the other ranks write: nothing."""

    def __init__(self) -> None:
        pass

    def train(self, step: int, values: Mapping[str, Number]) -> None:
        pass

    def eval(self, step: int, split: Split, values: Mapping[str, Number]) -> None:
        pass

    def sync(self) -> None:
        pass

    def finish(self, exit_code: int) -> None:
        pass


def open_record(
    run: RunDir, plan: Plan, step: int, events: Events, config: Mapping[str, Any]
) -> MetricsRecorder:
    """Rank 0's record of a run that goes on from `step`, with a W&B client started beside it."""
    put_right(run, step, events)
    log = MetricsLog(run.metrics)
    return MetricsRecorder(
        log, Tracker(tracking_settings(run, plan, config), log, _stop_request(run)), events
    )


def tracking_settings(run: RunDir, plan: Plan, config: Mapping[str, Any]) -> TrackingSettings:
    """The recipe's `tracking.wandb`, completed from the plan."""
    wandb = plan.recipe.tracking.wandb
    task = tasks.of(plan.recipe)
    return TrackingSettings(
        run_id=run.run_id,
        directory=run.path,
        mode=wandb.mode,
        project=wandb.project,
        entity=wandb.entity,
        name=wandb.name or run.run_id,
        group=wandb.group or _sweep_of(run) or plan.name,
        job_type=wandb.job_type,
        tags=wandb.tags,
        notes=wandb.notes,
        alerts=wandb.alerts,
        upload=wandb.upload,
        sweep=wandb.sweep,
        finish_timeout_s=MODEL_TIMEOUT_S if "model" in wandb.upload else TrackingSettings.finish_timeout_s,
        config=config if wandb.sweep is None else {**_leaves(plan.recipe.tree()), **config},
        monitor=f"eval/{task.chosen_metric}",
        monitor_mode="max" if task.higher_is_better(task.chosen_metric) else "min",
    )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`train.lr` and the like with their values: a sweep of W&B's looks for its parameters under the names it gave them."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        is_section = isinstance(value, Mapping) and value
        found |= _leaves(value, f"{prefix}{name}.") if is_section else {f"{prefix}{name}": value}
    return found


def _sweep_of(run: RunDir) -> str | None:
    """The sweep that a run is a trial of: its id begins with the name, and a directory of that name lies beside it."""
    parts = run.run_id.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts)))
    return next((name for name in names if (run.path.parent / name / "sweep.json").is_file()), None)


def _stop_request(run: RunDir) -> Callable[[], None]:
    """W&B's stop button asks all ranks as `launch stop` does."""
    return lambda: write_text(run.stop, "wandb\n")
