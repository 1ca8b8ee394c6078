"""Launching from Python, as thin as the command line and over the same plans.

    planned = launcher.plan("smoke", {"train.lr": 1e-3})    # looks, and starts nothing
    run = launcher.run(planned)                             # trains here, or submits to a scheduler
    run.result()["best"]                                    # waits until it is over

Mistakes are errors of `launcher.errors`: UserError, with all of them, before anything is created; RunFailed afterwards.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import RunFailed, UserError
from launcher.executors import Executor, JobState, executor_for
from launcher.executors.shared.outcome import outcome
from launcher.planning.prepare import Prepared, prepare
from launcher.runs import directory as directories
from launcher.runs import finding
from launcher.runs.metrics import read_metrics
from launcher.runs.results import Error

if TYPE_CHECKING:
    from launcher.train.use.predictions import TextPredictor

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Between two looks at a job: short ones are noticed at once, and no scheduler is asked ten times a second."""


def plan(
    recipe: str | Path, overrides: Mapping[str, object] | None = None, *, loss_file: Path | None = None
) -> Prepared:
    """What `run` would start: `.plan`, and the text of every file in `.files`; nothing is created.

    `recipe` is a name or a path; `overrides` are values by full dotted key. The environment counts as it does for
    `launch`. Raises UserError with every mistake.
    """
    words = [f"recipe={recipe}", *(f"{key}={_word(value)}" for key, value in (overrides or {}).items())]
    return prepare(words, os.environ, Path.cwd(), loss_file)


def run(
    recipe: Prepared | str | Path,
    overrides: Mapping[str, object] | None = None,
    *,
    loss_file: Path | None = None,
) -> Run:
    """Start a plan, or plan a recipe and start that; returns at once. Raises UserError where it is refused."""
    if isinstance(recipe, Prepared):
        if overrides or loss_file:
            raise TypeError("a plan is started as it is: give overrides and loss_file to launcher.plan")
        planned = recipe
    else:
        planned = plan(recipe, overrides, loss_file=loss_file)
    planned.refuse_unreachable()
    path = Path(planned.plan.run_dir)
    with directories.removed_if_refused(path.parent):
        executor = executor_for(planned.plan.executor)
        executor.start(directories.create(path, planned.files, shared=planned.plan.recipe.shared))
    return Run(path, executor=executor)


class Run:
    """A run, by its directory, its id or the start of one: whoever started it."""

    def __init__(
        self, reference: str | Path, runs_dir: str | Path = "runs", *, executor: Executor | None = None
    ) -> None:
        self._directory = finding.find(str(reference), Path(runs_dir))
        self._executor = executor or executor_for(self._directory.read_plan().executor)

    @property
    def id(self) -> str:
        return self._directory.run_id

    @property
    def path(self) -> Path:
        """Its directory."""
        return self._directory.path

    def state(self) -> JobState:
        """What is known about its newest job."""
        return self._executor.state(self._directory)

    def wait(self, timeout_s: float | None = None) -> Run:
        """Return when its job is over, however it ended. Raises TimeoutError; the job goes on then."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = FIRST_PAUSE_S
        while self.state().active:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.id} is not over after {timeout_s} s")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 1.5)
        return self

    def result(self) -> dict[str, Any]:
        """What result.json holds, once the job is over. Raises RunFailed where the run failed."""
        self.wait()
        job = self._directory.last_job()
        if job is None:
            raise UserError("was never started", where=self.id)
        found = outcome(self._directory, job, self.state())
        if found.status == "failed":
            error = found.error or Error("failed", "no cause is known")
            raise RunFailed(error.kind, error.message, error.remedy)
        return found.tree()

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl so far: one a training step, and one an evaluation, by step."""
        return list(read_metrics(self._directory).trees)

    def predictor(self) -> TextPredictor:
        """The best model so far, to be called with texts: `run.predictor()("a sentence")`. Imports torch.

        Raises UserError where there is no model yet.
        """
        from launcher.train.use.predictions import TextPredictor

        return TextPredictor(self._directory)

    def stop(self) -> None:
        """Ask the job to save and stop."""
        self._executor.stop(self._directory)

    def cancel(self) -> None:
        """Kill the job."""
        self._executor.cancel(self._directory)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def _word(value: object) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}: {_word(item)}" for name, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(_word, value)) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"a key takes texts, numbers, booleans, lists and None, not {value!r}")
