"""What `launch watch` knows of runs: a look at each that is renewed, and curves that grow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from launcher.cli.many_runs import Line, lines_of
from launcher.cli.run_state import RunState
from launcher.cli.state_text import job_number, metric_text, newest_metrics
from launcher.cli.summary import metrics_text
from launcher.errors import DamagedFile, LauncherError
from launcher.figures import human_number, human_seconds, moment
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.metrics import row_of
from launcher.runs.records import LARGEST, GrowingFile, read_tail

LOG_BYTES = 1 << 15
LOG_LINES = 300
CURVES = ("train/loss", "eval/METRIC", "perf/examples_per_s", "train/lr", "train/grad_norm")
"""What can be drawn; METRIC stands for the one that chooses the best model."""
Points = tuple[list[int], list[float | None]]


@dataclass
class Growing:
    """The figures of metrics.jsonl, read on from where the last look ended."""

    file: GrowingFile
    train: dict[str, Points] = field(default_factory=dict)
    evaluated: dict[str, Points] = field(default_factory=dict)
    """On the validation data."""

    def update(self) -> None:
        """Take up what has been written since."""
        with contextlib.suppress(DamagedFile):
            for _, line in self.file.new_lines():
                self._take(line)

    def _take(self, line: str) -> None:
        row = row_of(line)
        if row is None or row.split not in (None, "validation"):
            return
        table = self.train if row.split is None else self.evaluated
        for key, value in row.figures.items():
            if value is None or abs(value) < LARGEST:
                steps, values = table.setdefault(key, ([], []))
                steps.append(row.step)
                values.append(value)

    def points(self, name: str) -> Points:
        """The steps and values of a figure, none where it was not recorded."""
        table = self.evaluated if name.startswith("eval/") else self.train
        return table.get(name, ([], []))


@dataclass(frozen=True)
class Watched:
    """One run as it was at the last look."""

    line: Line
    state: RunState | None
    curves: Growing
    attempt: Attempt | None
    metric: str

    @property
    def is_active(self) -> bool:
        """Whether it has a job."""
        return self.state is not None and self.state.job.active

    def facts(self) -> list[str]:
        """What is known besides the curves, a line each."""
        state = self.state
        if state is None:
            return [self.line.doubt]
        job = state.job
        left = f", {human_seconds(state.eta_s)} left" if state.eta_s is not None else ""
        stopping = " (a stop is requested)" if state.stop_requested and job.active else ""
        facts = [f"step {state.step or 0} of {state.total or 'unknown'}{left}{stopping}"]
        if state.phase not in (None, "training"):
            facts.append(f"doing {state.phase}")
        if state.loss is not None:
            speed = "" if state.examples_per_s is None else f"   {state.examples_per_s:,.0f} examples/s"
            facts.append(f"loss {human_number(state.loss)}{speed}")
        error = None if state.result is None or job.status != "failed" else state.result.error
        facts += filter(None, [self._remark(), "" if error is None else error.remedy])
        facts += self._places()
        if state.stall is not None:
            facts.append(state.stall.sentence)
        if state.step_times is not None and state.step_times.sentence is not None and job.active:
            facts.append(state.step_times.sentence)
        return facts

    def _remark(self) -> str:
        """The last cell of the table, with all metrics where it has the one that chooses."""
        view, cell = self.line.view, self.line.cells[4]
        is_metric = view is not None and view.recorded is None and cell == metric_text(view)
        return metrics_text(newest_metrics(view)) if view is not None and is_metric else cell

    def _places(self) -> list[str]:
        """Where it runs, or when it is to start."""
        assert self.state is not None
        job, attempt = self.state.job, self.attempt
        if job.status == "pending":
            return [f"starts {moment(job.started_at)}, as far as is known"] if job.started_at else []
        hosts = job.nodes or (", ".join(attempt.hosts) if attempt is not None else "")
        attempts = f"attempt {self.state.attempts}" if self.state.attempts else ""
        number = f"{self.state.executor} job {job_number(job.job_id)}" if job.job_id else ""
        return [", ".join(filter(None, [attempts, f"on {hosts}" if hosts else "", number]))]


class Watch:
    """The runs that are watched."""

    def __init__(self, find: Callable[[], Sequence[RunDir]]) -> None:
        """`find` is asked at every look, since a sweep gets more trials; it raises LauncherError where they can't be told."""
        self._find = find
        self._runs = find()
        self._curves: dict[str, Growing] = {}

    def look(self) -> list[Watched]:
        """All of them as they are now, in their order; where they can't be told, those of the last look."""
        with contextlib.suppress(LauncherError):
            self._runs = self._find()
        return [self._watched(line) for line in lines_of(self._runs)]

    def _watched(self, line: Line) -> Watched:
        run = line.run
        curves = self._curves.setdefault(str(run.path), Growing(GrowingFile(run.metrics)))
        if line.view is None:
            return Watched(line, None, curves, None, "loss")
        curves.update()
        try:
            state, last = line.view.state(), run.last_attempt()
            attempt = None if last is None else last.read()
        except LauncherError:
            return Watched(line, None, curves, None, "loss")
        best = None if state.result is None else state.result.best
        chosen = best.metric if best is not None else line.view.plan.recipe.eval.metric
        known = (name.removeprefix("eval/") for name in curves.evaluated if name != "eval/loss")
        metric = chosen or next(known, "loss")
        return Watched(line, state, curves, attempt, metric)


def log_of(run: RunDir) -> list[str]:
    """The last lines of the job's log and of the first rank's."""
    found: list[str] = []
    try:
        job = run.last_job()
    except DamagedFile:
        job = None
    for name, path in ((f"job {job}", run.job_log(job) if job else None), ("rank 0", run.rank_log(0))):
        if path is not None:
            found += [f"[{name}] {line}" for line in read_tail(path, LOG_BYTES).splitlines()[-LOG_LINES:]]
    return found or ["nothing is logged yet"]
