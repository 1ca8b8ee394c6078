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
class Pack:
    """Trials that begin at the same time, in one job of a scheduler's."""

    each: int
    start: Callable[[Sequence[RunDir]], object]
    """Submits such a job; raises LauncherError."""


@dataclass(frozen=True)
class Company:
    """What a sweep needs beside starting its trials."""

    next: Callable[[], RunDir | None] = lambda: None
    """One trial more, where there is room for it; None where there is none for now."""
    look: Callable[[Sequence[RunDir]], None] = lambda _: None
    """Looks at the trials that are active, every LOOK_S seconds."""
    is_over: Callable[[RunDir], bool] = completed
    """Whether nothing is left to do for a trial."""
    pack: Pack | None = None
    """None where each trial is started by itself."""


def work_off(
    runs: Sequence[RunDir],
    executor: Executor,
    at_once: int,
    news: News,
    wish: Callable[[], Wish],
    company: Company = Company(),
    poll_s: float = POLL_S,
) -> dict[str, str]:
    """Run to its end whatever isn't completed, `at_once` at most side by side.

    Returns the status of each run by its id, in the order in which they were to begin.

    Where several begin together, `at_once` is no fewer.

    Runs that are stopped or failed go on from their checkpoints. `wish` is asked again and again: from `stop` on nothing
    is started and what runs is asked to save and stop, `cancel` kills it, `leave` leaves it to itself.
    """
    over = {run.run_id: _status(run) or "completed" for run in runs if company.is_over(run)}
    waiting = [run for run in runs if run.run_id not in over]
    ended = {run.run_id: over.get(run.run_id, "waiting") for run in runs}
    active: list[RunDir] = []
    asked = wish()
    looked_at = -math.inf
    each = 1 if company.pack is None else company.pack.each
    while asked != "leave":
        while asked == "go on" and len(active) + each <= at_once:
            if not (group := _next(waiting, company, each)):
                break
            _start(group, executor, company, active, ended, news)
        if not active:
            break
        time.sleep(poll_s)
        if time.monotonic() > looked_at + LOOK_S:
            company.look(active)
            looked_at = time.monotonic()
        for run in _ended(active, executor):
            active.remove(run)
            ended[run.run_id] = _status(run) or "failed"
            news(run, ended[run.run_id])
        wanted = wish()
        if wanted != asked:
            asked = wanted
            for run in active:
                _ask(run, executor, asked)
    return ended


def _ended(active: Sequence[RunDir], executor: Executor) -> list[RunDir]:
    """Those that are over: all are asked about at once, and each that seems over by itself, since a list may be seconds old."""
    states = executor.states(active)
    seem_over = [run for run, state in zip(active, states, strict=True) if not state.active]
    return [run for run in seem_over if not executor.state(run).active]


def _next(waiting: list[RunDir], company: Company, each: int) -> list[RunDir]:
    """The trials that begin next, none where there are none for now."""
    group: list[RunDir] = []
    while len(group) < each:
        run = waiting.pop(0) if waiting else company.next()
        if run is None:
            break
        group.append(run)
    return group


def _start(
    group: Sequence[RunDir],
    executor: Executor,
    company: Company,
    active: list[RunDir],
    ended: dict[str, str],
    news: News,
) -> None:
    """Start runs, or take up those that somebody else has started; one that is refused doesn't hold the others up."""
    try:
        there = [run for run in group if executor.state(run).active]
        missing = [run for run in group if run not in there]
        if company.pack is not None and missing:
            company.pack.start(missing)
        elif missing:
            executor.start(missing[0])
    except LauncherError as error:
        if len(group) > 1:
            for run in group:
                _start([run], executor, company, active, ended, news)
            return
        ended[group[0].run_id] = "failed"
        news(group[0], f"refused: {error}")
        return
    active += group
    for run in group:
        ended[run.run_id] = "active"
        news(run, "goes on" if run in there else "started")


def _ask(run: RunDir, executor: Executor, wish: Wish) -> None:
    if wish == "leave":
        return
    try:
        executor.cancel(run) if wish == "cancel" else executor.stop(run)
    except LauncherError:
        return  # it has just ended by itself
