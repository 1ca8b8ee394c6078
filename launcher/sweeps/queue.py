"""Trials that this machine works off, some at a time: no daemon, just the command that is waiting for them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.errors import LauncherError
from launcher.executors import Executor
from launcher.runs.directory import RunDir

POLL_S = 0.2
LOOK_S = 2.0
News = Callable[[RunDir, str], None]
"""Told of each change: the run, and `started`, `goes on` or the status that it ended with."""
Wish = Literal["go on", "stop", "cancel", "leave"]


def completed(run: RunDir) -> bool:
    """Whether nothing is left to do for this run."""
    return _status(run) == "completed"


def _status(run: RunDir) -> str | None:
    result = run.read_result()
    return None if result is None else result.status


@dataclass(frozen=True)
class Company:
    """What a sweep needs beside starting its trials."""

    next: Callable[[], RunDir | None] = lambda: None
    """One trial more, where there is room for it; None where there is none for now."""
    look: Callable[[Sequence[RunDir]], None] = lambda _: None
    """Looks at the trials that are active, every LOOK_S seconds."""
    is_over: Callable[[RunDir], bool] = completed
    """Whether nothing is left to do for a trial."""


def work_off(
    runs: Sequence[RunDir],
    executor: Executor,
    at_once: int,
    news: News,
    wish: Callable[[], Wish],
    company: Company = Company(),
    poll_s: float = POLL_S,
) -> dict[str, str]:
    """Run to its end whatever isn't completed, `at_once` at most side by side; returns the status of each run by its id.

    Runs that are stopped or failed go on from their checkpoints. `wish` is asked again and again: from `stop` on nothing
    is started and what runs is asked to save and stop, `cancel` kills it, `leave` leaves it to itself.
    """
    waiting = [run for run in runs if not company.is_over(run)]
    ended = {run.run_id: _status(run) or "completed" for run in runs if company.is_over(run)}
    active: list[RunDir] = []
    asked: Wish = "go on"
    looked_at = -math.inf
    while asked != "leave":
        while asked == "go on" and len(active) < at_once and (run := _next(waiting, company)) is not None:
            _start(run, executor, active, ended, news)
        if not active:
            break
        time.sleep(poll_s)
        if time.monotonic() > looked_at + LOOK_S:
            company.look(active)
            looked_at = time.monotonic()
        for run in [run for run in active if not executor.state(run).active]:
            active.remove(run)
            ended[run.run_id] = _status(run) or "failed"
            news(run, ended[run.run_id])
        wanted = wish()
        if wanted != asked:
            asked = wanted
            for run in active:
                _ask(run, executor, asked)
    left = {run.run_id: "waiting" for run in waiting} | {run.run_id: "active" for run in active}
    return ended | left


def _next(waiting: list[RunDir], company: Company) -> RunDir | None:
    return waiting.pop(0) if waiting else company.next()


def _start(run: RunDir, executor: Executor, active: list[RunDir], ended: dict[str, str], news: News) -> None:
    """Start a run, or take up one that somebody else has started; one that is refused doesn't hold the others up."""
    try:
        is_there = executor.state(run).active
        if not is_there:
            executor.start(run)
    except LauncherError as error:
        ended[run.run_id] = "failed"
        news(run, f"refused: {error}")
        return
    active.append(run)
    news(run, "goes on" if is_there else "started")


def _ask(run: RunDir, executor: Executor, wish: Wish) -> None:
    if wish == "leave":
        return
    try:
        executor.cancel(run) if wish == "cancel" else executor.stop(run)
    except LauncherError:
        return  # it has just ended by itself
