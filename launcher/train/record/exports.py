"""`launch sync --to`: a run's record for TensorBoard or MLflow, made from metrics.jsonl alone, each step once."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from launcher.errors import EXIT_OK, EXIT_STOPPED, DamagedFile, RunFailed, UserError, first_line
from launcher.planning.plan import Plan
from launcher.planning.recorded_plan import recorded_plan
from launcher.recipe.recipe import leaf_values
from launcher.runs.directory import RunDir
from launcher.runs.events import Step, read_events
from launcher.runs.metrics import MetricsRow
from launcher.runs.records import GrowingFile
from launcher.runs.verb_results import Sent
from launcher.train.record.ending import Ending
from launcher.train.record.metrics_log import Number
from launcher.train.record.wandb_rows import new_rows, values_of

LOOK_S = 2.0
MOST_METRICS, MOST_PARAMETERS, LONGEST_PARAMETER = 1000, 100, 500
"""What MLflow takes at once."""
REFUSED = re.compile(r"[^\w.\- :]")
"""Characters that no part of a metric's name has there."""
ENDED = {EXIT_OK: "FINISHED", EXIT_STOPPED: "KILLED"}
"""What MLflow calls the ends of runs."""


@dataclass(frozen=True)
class Point:
    """One figure of one step."""

    name: str
    step: int
    value: Number
    at: float
    """When the step was done, in Unix seconds."""


class Target(Protocol):
    """Where points go."""

    url: str
    """Where somebody looks at them."""
    seen: set[tuple[str, int]]
    """The names and steps that it has."""

    def called(self, name: str) -> str:
        """Its name for a figure."""

    def goes_on(self) -> None:
        """The run has not ended, or not for good."""

    def add(self, points: list[Point]) -> None:
        """Take points that it hasn't seen."""

    def close(self, exit_code: int | None) -> None:
        """The end, with the run's exit code; None where it goes on."""


def export(run: RunDir, kind: str, *, follow: bool) -> Sent:
    """Bring a run's record there. Raises UserError where that can't be."""
    if not run.metrics.is_file():
        raise UserError("has no metrics yet", where=run.run_id, remedy=f"launch status {run.run_id}")
    target: Target = TensorBoard(run) if kind == "tensorboard" else MLflow(run)
    ending = Ending(run, follow=follow)
    if ending.exit_code is None:
        target.goes_on()
    steps: set[int] = set()
    times = _times_of_steps(run)
    for rows in _batches(GrowingFile(run.metrics), ending):
        points = list(_new(rows, target, times))
        steps |= {point.step for point in points}
        target.add(points)
    target.close(ending.exit_code)
    return Sent(run.run_id, len(steps), target.url, ending.exit_code is not None)


def _batches(metrics: GrowingFile, ending: Ending) -> Iterator[list[MetricsRow]]:
    while True:
        over = ending.ending.is_set()  # asked before reading, so that the last lines are read
        yield [row for _, row in new_rows(metrics)]
        if over:
            return
        ending.ending.wait(LOOK_S)


def _times_of_steps(run: RunDir) -> dict[int, float]:
    """When each step was first done, as far as the events tell."""
    times: dict[int, float] = {}
    for event in read_events(run.events, Step):
        if event.t is not None:
            times.setdefault(event.step, event.t)
    return times


def _new(rows: Sequence[MetricsRow], target: Target, times: Mapping[int, float]) -> Iterator[Point]:
    """What isn't there; an evaluation repeats the epoch that its step has said. A step that nobody timed is done now."""
    now = time.time()
    for row in rows:
        step, at = row.step, times.get(row.step, now)
        for own, value in values_of(row).items():
            name = target.called(own)
            if (name, step) not in target.seen:
                target.seen.add((name, step))
                yield Point(name, step, value, at)


class TensorBoard:
    """Event files in the run directory, written anew by each command."""

    def __init__(self, run: RunDir) -> None:
        try:
            import tensorboard  # noqa: F401 - torch's writer needs it
        except ImportError:
            raise _missing("tensorboard") from None
        from torch.utils.tensorboard import SummaryWriter

        directory = run.path / "tensorboard"
        for path in directory.glob("events.out.tfevents.*"):
            path.unlink()
        self.url = str(directory)
        self.seen: set[tuple[str, int]] = set()
        self._writer = SummaryWriter(str(directory))

    def called(self, name: str) -> str:
        """As it is."""
        return name

    def goes_on(self) -> None:
        """Files don't say that."""

    def add(self, points: list[Point]) -> None:
        """Write the points."""
        for point in points:
            self._writer.add_scalar(point.name, point.value, point.step, point.at)
        self._writer.flush()

    def close(self, exit_code: int | None) -> None:
        """Close the file."""
        del exit_code
        self._writer.close()


class MLflow:
    """A run of MLflow's, found again by the run's id; what its server has of each metric is left out."""

    def __init__(self, run: RunDir) -> None:
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            remedy = "set it to your server, such as http://localhost:5000, or to a file: sqlite:///mlflow.db"
            raise UserError("is not set", where="environment MLFLOW_TRACKING_URI", remedy=remedy)
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise _missing("mlflow") from None
        self._shown = _without_password(address)
        self._run = run
        plan = recorded_plan(run.plan)
        with self._telling():
            self._client: Any = MlflowClient(tracking_uri=address)
            self._id = self._find(run, plan)
            self.seen = self._recorded()
        self.url = f"{self._shown} (run {self._id})"

    def called(self, name: str) -> str:
        """With the numbers of the characters that it refuses, which labels may have: `eval/f1/PRP_24_` for `eval/f1/PRP$`."""
        parts = (REFUSED.sub(_numbered, part) for part in name.split("/"))
        return "/".join(part if part.strip(".") else re.sub(r"\.", _numbered, part) or "_" for part in parts)

    def goes_on(self) -> None:
        """The run runs again, whatever an earlier command has said of its end."""
        with self._telling():
            self._client.update_run(self._id, "RUNNING")

    def add(self, points: list[Point]) -> None:
        """Log the points."""
        from mlflow.entities import Metric

        metrics = [
            Metric(point.name, float(point.value), int(1000 * point.at), point.step)
            for point in points
            if point.value is not None
        ]
        with self._telling():
            for first in range(0, len(metrics), MOST_METRICS):
                self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])

    def close(self, exit_code: int | None) -> None:
        """Say how the run ended, where it has."""
        if exit_code is not None:
            with self._telling():
                self._client.set_terminated(self._id, ENDED.get(exit_code, "FAILED"), _times(self._run)[1])

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """What MLflow raises is a failure of the tracking, in a sentence."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it has errors of its own, of its server and of its database
            raise RunFailed("tracking", f"MLflow at {self._shown}: {_said(error)}") from None

    def _find(self, run: RunDir, plan: Plan) -> str:
        """The run of this id, made where there is none."""
        project = plan.recipe.tracking.wandb.project
        known = self._client.get_experiment_by_name(project)
        experiment = known.experiment_id if known else self._client.create_experiment(project)
        # What the name of a run may hold needs no quotes in a filter.
        found = self._client.search_runs([experiment], f"tags.`launch.run_id` = '{run.run_id}'")
        if found:
            return str(found[0].info.run_id)
        tags = {"launch.run_id": run.run_id, "launch.group": plan.recipe.tracking.wandb.group or plan.name}
        made = self._client.create_run(experiment, _times(run)[0], tags=tags, run_name=run.run_id)
        parameters = list(_parameters(plan))
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(made.info.run_id, params=parameters[first : first + MOST_PARAMETERS])
        return str(made.info.run_id)

    def _recorded(self) -> set[tuple[str, int]]:
        names = self._client.get_run(self._id).data.metrics
        return {
            (name, int(metric.step))
            for name in names
            for metric in self._client.get_metric_history(self._id, name)
        }


def _times(run: RunDir) -> tuple[int | None, int | None]:
    """When a run's first attempt began and its last one ended, in Unix milliseconds, as far as that is on record."""
    attempts = []
    for number in run.attempt_numbers():
        with contextlib.suppress(DamagedFile):
            attempts.append(run.attempt(number).read())
    ends = (attempts[0].started_at, attempts[-1].ended_at) if attempts else (None, None)
    began, ended = (None if at is None else int(1000 * at) for at in ends)
    return began, ended


def _parameters(plan: Plan) -> Iterator[Any]:
    from mlflow.entities import Param

    leaves: Mapping[str, Any] = dict(leaf_values(plan.recipe.tree()))
    for key, value in leaves.items():
        if value not in (None, (), [], {}):
            yield Param(key, str(value)[:LONGEST_PARAMETER])


def _numbered(found: re.Match[str]) -> str:
    return f"_{ord(found[0]):x}_"


def _missing(extra: str) -> UserError:
    remedy = f"pip install 'launch-encoders[{extra}]'"
    return UserError(f"needs the package {extra}", field="--to", value=extra, remedy=remedy)


def _said(error: Exception) -> str:
    """What it says, which may name the server as it was given."""
    return _without_password(first_line(error))[:300]


def _without_password(text: str) -> str:
    """A text with the addresses in it, without name and password."""
    return re.sub(r"//[^/\s]*@", "//", text)
