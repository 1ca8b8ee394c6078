"""Trials that this machine works off, some at a time: no daemon, just the command that is waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from launcher.errors import LauncherError
from launcher.executors import Executor
from launcher.runs.directory import RunDir

POLL_S = 0.2
News = Callable[[RunDir, str], None]
"""Told of each change: the run, and `started` or the status that it ended with."""
Wish = Literal["go on", "stop", "cancel"]


def completed(run: RunDir) -> bool:
    """Whether nothing is left to do for this run."""
    return _status(run) == "completed"


def _status(run: RunDir) -> str | None:
    result = run.read_result()
    return None if result is None else result.status


def work_off(
    runs: Sequence[RunDir], executor: Executor, at_once: int, news: News, wish: Callable[[], Wish]
) -> dict[str, str]:
    """Run to its end whatever isn't completed, `at_once` at most side by side; returns the status of each run by its id.

    Runs that are stopped or failed go on from their checkpoints. `wish` is asked again and again: from `stop` on nothing
    is started and what runs is asked to save and stop, `cancel` kills it.
    """
    waiting = [run for run in runs if not completed(run)]
    ended = {run.run_id: "completed" for run in runs if completed(run)}
    active: list[RunDir] = []
    asked: Wish = "go on"
    while active or (waiting and asked == "go on"):
        while waiting and asked == "go on" and len(active) < at_once:
            _start(waiting.pop(0), executor, active, ended, news)
        time.sleep(POLL_S)
        for run in [run for run in active if not executor.state(run).active]:
            active.remove(run)
            ended[run.run_id] = _status(run) or "failed"
            news(run, ended[run.run_id])
        wanted = wish()
        if wanted != asked:
            asked = wanted
            for run in active:
                _ask(run, executor, asked)
    return ended | {run.run_id: "waiting" for run in waiting}


def _start(run: RunDir, executor: Executor, active: list[RunDir], ended: dict[str, str], news: News) -> None:
    """Start a run, or take up one that somebody else has started; one that is refused doesn't hold the others up."""
    try:
        if not executor.state(run).active:
            executor.start(run)
    except LauncherError as error:
        ended[run.run_id] = "failed"
        news(run, f"refused: {error}")
        return
    active.append(run)
    news(run, "started")


def _ask(run: RunDir, executor: Executor, wish: Wish) -> None:
    try:
        executor.cancel(run) if wish == "cancel" else executor.stop(run)
    except LauncherError:
        return  # it has just ended by itself
