"""Has the trials of a sweep done: here, one after the other or some at a time, or by the scheduler."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.cli.many_runs import counts_text, status_counts
from launcher.cli.output import before_the_start, say, show, show_json
from launcher.cli.progress import busy
from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, LauncherError, UserError
from launcher.executors import Executor, executor_for
from launcher.figures import quantity
from launcher.runs.directory import RunDir
from launcher.runs.records import read_text
from launcher.runs.trust import checked
from launcher.sweeps.driver_lock import in_turn, only_driver
from launcher.sweeps.halving import stopped_early
from launcher.sweeps.job_arrays import submit
from launcher.sweeps.packing import MOST, Packing, measured_runs, packing
from launcher.sweeps.queue import POLL_S, Company, Pack, Wish, completed, work_off
from launcher.sweeps.search import Guide, Searched, halving_of, plan_search
from launcher.sweeps.sweep import (
    Method,
    Planned,
    Search,
    Setting,
    Sweep,
    forget,
    nothing_left_if_refused,
    plan_sweep,
    write,
)

WISHES: tuple[Wish, ...] = ("go on", "stop", "cancel")
"""After no, one and two Ctrl-C, where the trials run here."""
LEAVING: tuple[Wish, ...] = ("go on", "leave")
"""The same where they run on a cluster."""
CLUSTER_POLL_S = 2.0
AT_ONCE_ON_A_CLUSTER = 4
"""Trials of a search that learns: the more at the same time, the less each knows of the others."""


def plan_trials(
    words: Sequence[str], method: Method | None, trials: int | None, setting: Setting
) -> tuple[Planned, Searched | None]:
    """What the words name, and the search where it is one. Raises UserError; creates nothing."""
    with busy("planning the trials"):
        if method is None or trials is None:
            return plan_sweep(words, setting), None
        searched = plan_search(words, method, trials, setting)
        return searched.planned, searched


def start_sweep(
    words: Sequence[str],
    setting: Setting,
    method: Method | None = None,
    trials: int | None = None,
    parallel: int | None = None,
    *,
    prune: bool = False,
    pack: str | None = None,
    as_json: bool,
) -> int:
    """Plan the trials that the words name, and have those done that are missing; returns the exit code."""
    with before_the_start():
        planned, searched = plan_trials(words, method, trials, setting)
        planned.refuse_unreachable()
        packed = packing_of(planned, searched, pack)
    with nothing_left_if_refused(planned):
        with before_the_start():
            sweep = write(planned, parallel, None if packed is None else packed.each)
        if prune:
            _prune(sweep, planned)
        if not as_json:
            show(sweep.name)
        count = len(planned.trials) if searched is None else searched.search.trials
        say(f"{quantity(count, 'trial')}; the same command again trains what is missing")
        named = {trial.run_id for trial in planned.trials}
        runs = [run for run in sweep.runs() if run.run_id in named]
        if searched is not None and searched.search.method != "random":
            _tell_packing(packed)
            return _drive(sweep, searched, runs, as_json=as_json)
        return run_sweep(sweep, runs, packed, as_json=as_json)


def packing_of(planned: Planned, searched: Searched | None, pack: str | None) -> Packing | None:
    """How many trials share a job; None where each has its own. Raises UserError."""
    if pack is None:
        return None
    asked = int(pack) if re.fullmatch("[0-9]{1,4}", pack) else None
    if (asked is None and pack != "auto") or (asked is not None and not 1 <= asked <= MOST):
        raise UserError(f"must be auto or from 1 to {MOST}", field="--pack", value=pack)
    trials = [*planned.trials]
    if asked is not None:
        asked = min(asked, len(trials) if searched is None else searched.search.trials)
    if searched is not None and searched.search.needs_results:
        trials += searched.examples() if asked is None else [searched.example]
    runs = measured_runs([RunDir(planned.directory.parent / trial.run_id) for trial in planned.trials])
    found = [
        packing(trial.prepared.plan, executor_for(trial.prepared.plan.executor), runs, asked)
        for trial in trials
    ]
    return min(found, key=lambda each: each.each)


def _tell_packing(packed: Packing | None) -> None:
    if packed is not None:
        say(f"{quantity(packed.each, 'trial')} in a job, {packed.reason}")


def run_sweep(sweep: Sweep, runs: Sequence[RunDir], packed: Packing | None = None, *, as_json: bool) -> int:
    """Have these trials done, as many at a time as the sweep says; returns the exit code."""
    executor = executor_for(runs[0].read_plan().executor)
    each = sweep.each or 1
    _tell_packing(packed)
    if executor.array_template is None:
        at_once = sweep.at_once or each
        return _work_off(sweep, runs, executor, at_once, as_json=as_json)
    return _submit(sweep, runs, executor, each, as_json=as_json)


def resume_sweep(sweep: Sweep, *, accept_changes: bool, follow: bool, as_json: bool) -> int:
    """Have what is missing of a sweep done; returns the exit code."""
    if accept_changes or follow:
        option = "--accept-changes" if accept_changes else "--follow"
        raise UserError("is for one run", None, option, remedy="name a trial of the sweep")
    if sweep.search is not None and sweep.search.method != "random":
        return _search_again(sweep, sweep.search, as_json=as_json)
    there = [checked(run) for run in sweep.runs() if run.plan.exists()]
    for run in sweep.runs():
        if run not in there:
            say(f"note: {run.run_id} is gone; the sweep's own command makes it again")
    if not there:
        raise UserError("has no trial that is there", where=sweep.name, remedy="launch sweep ...")
    return run_sweep(sweep, there, as_json=as_json)


def _search_again(sweep: Sweep, search: Search, *, as_json: bool) -> int:
    """Go on with a search by the words of its own command."""
    loss = None if search.loss_file is None else Path(search.loss_file)
    words = [
        *(word for word in search.words if not word.startswith("runs_dir=")),
        f"runs_dir={sweep.directory.parent}",
    ]
    setting = Setting(os.environ, Path(search.cwd), sweep.name, loss)
    pack = None if sweep.each is None else str(sweep.each)
    return start_sweep(
        words, setting, search.method, search.trials, sweep.at_once, pack=pack, as_json=as_json
    )


def _submit(sweep: Sweep, runs: Sequence[RunDir], executor: Executor, each: int, *, as_json: bool) -> int:
    """Hand what is missing to the scheduler, and say what becomes of it."""
    done = submit(sweep, runs, executor, sweep.at_once, each)
    if as_json:
        show_json({"sweep": sweep.name, "trials": done.trials, "jobs": list(done.jobs)})
    if done.jobs:
        say(f"{done.started} submitted as job {', '.join(done.jobs)}; watch them: launch status {sweep.name}")
    else:
        say(f"nothing is missing: launch status {sweep.name}")
    return EXIT_OK


def _work_off(
    sweep: Sweep, runs: Sequence[RunDir], executor: Executor, at_once: int, *, as_json: bool
) -> int:
    """Do the trials here, one after the other or some at a time; returns when no more is to be done."""
    with _wishes(sweep, WISHES) as wish, in_turn(sweep.directory, _patience(sweep, wish)):
        ended = work_off(runs, executor, at_once, _tell, wish)
    return _told(sweep, ended, as_json=as_json)


def _tell(run: RunDir, what: str) -> None:
    """Say what has become of a trial, and why it failed."""
    result = run.read_result() if what == "failed" else None
    cause = f": {result.error.sentence()}" if result is not None and result.error is not None else ""
    say(f"{run.run_id}: {what}{cause}")


def _patience(sweep: Sweep, wish: Callable[[], Wish]) -> Callable[[], bool]:
    """Whether to wait for another command that works the sweep off; says so the first time that it is asked."""
    told = False

    def may_wait() -> bool:
        nonlocal told
        if not told:
            say(f"another command is training {sweep.name}; this one waits, and then trains what is missing")
        told = True
        return wish() == "go on"

    return may_wait


def _drive(sweep: Sweep, searched: Searched, runs: Sequence[RunDir], *, as_json: bool) -> int:
    """Stay with a search that asks or decides as its trials go on; returns when no more is to be done.

    On a cluster, trials that don't depend on results are submitted at once, and whoever leaves them leaves them running;
    those that do begin together where they share a job.
    """
    executor = executor_for(searched.example.prepared.plan.executor)
    is_here = executor.array_template is None
    learns = searched.search.needs_results
    with only_driver(sweep.directory), _wishes(sweep, WISHES if is_here else LEAVING) as wish:
        each = sweep.each or 1
        at_once = max(each, sweep.at_once or (1 if is_here else AT_ONCE_ON_A_CLUSTER))
        if not is_here and not learns:
            early = stopped_early(sweep.directory)
            submit(sweep, [run for run in runs if run.run_id not in early], executor, sweep.at_once, each)
            at_once = len(runs)
        ended = work_off(
            runs,
            executor,
            at_once,
            _tell,
            wish,
            _company(sweep, searched, executor),
            POLL_S if is_here else CLUSTER_POLL_S,
        )
    early = stopped_early(sweep.directory)
    return _told(
        sweep,
        {name: "stopped early" if name in early and was == "stopped" else was for name, was in ended.items()},
        as_json=as_json,
    )


def _company(sweep: Sweep, searched: Searched, executor: Executor) -> Company:
    """What goes on beside the trials of a search: points that are asked for, or trials that are stopped."""
    if searched.search.needs_results:
        guide = Guide(
            searched, sweep.at_once, lambda words, error: say(f"{words}: refused: {error}"), sweep.each
        )
        guide.tell()
        return Company(next=guide.next, pack=_pack(sweep, executor))
    halving = halving_of(searched)

    def look(active: Sequence[RunDir]) -> None:
        for decision in halving.look(active):
            say(f"{decision.run_id}: {decision}")
        early = stopped_early(sweep.directory)
        for run in active:
            if run.run_id in early and not run.stop.exists():
                with suppress(LauncherError):  # it has just ended by itself
                    executor.stop(run)

    def is_over(run: RunDir) -> bool:
        return completed(run) or (
            run.run_id in stopped_early(sweep.directory) and not executor.state(run).active
        )

    return Company(look=look, is_over=is_over)


def _pack(sweep: Sweep, executor: Executor) -> Pack | None:
    """Trials that share a job of a scheduler's; None where each is started by itself."""
    each = sweep.each or 1
    if each == 1 or executor.array_template is None:
        return None
    return Pack(each, lambda runs: submit(sweep, runs, executor, None, each))


def _told(sweep: Sweep, ended: dict[str, str], *, as_json: bool) -> int:
    """Say how the trials ended; returns the exit code."""
    say(f"{sweep.name}: {counts_text(status_counts(ended.values()))}")
    if as_json:
        show_json({"sweep": sweep.name, "trials": ended})
    if "active" in ended.values():
        say("running trials go on without you; the same command follows them again")
    elif set(ended.values()) <= {"completed", "stopped early"}:
        say(f"launch compare {sweep.name} shows them best first, launch report {sweep.name} as a page")
        return EXIT_OK
    else:
        say(f"the same command, or launch resume {sweep.name}, trains what is missing")
    return EXIT_FAILED if "failed" in ended.values() else EXIT_STOPPED


@contextmanager
def _wishes(sweep: Sweep, after: Sequence[Wish]) -> Iterator[Callable[[], Wish]]:
    """What Ctrl-C and TERM, the n-th of which means `after[n]`, and `launch stop` or `cancel` have asked for so far.

    Where several commands wait for each other, all of them are asked, so that none takes the request away: what was asked
    before this one began is not meant for it.
    """
    count = 0
    told = False
    earlier = _written_at(sweep.request)

    def more(*_: object) -> None:
        nonlocal count
        count += 1

    def wish() -> Wish:
        nonlocal told
        pressed = after[min(count, len(after) - 1)]
        if pressed == "stop" and not told:
            told = True
            say("saving, then stopping what runs; press Ctrl-C again to kill it instead")
        is_new = _written_at(sweep.request) != earlier
        asked = (read_text(sweep.request) or "").strip() if is_new else ""
        others: list[Wish] = [known for known in WISHES if known == asked]
        return pressed if pressed == "leave" else max([pressed, *others], key=WISHES.index)

    before = {number: signal.signal(number, more) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _written_at(path: Path) -> tuple[int, int] | None:
    """Tells one writing of a file from the next; None where it isn't there."""
    with suppress(FileNotFoundError):
        there = path.stat()
        return there.st_mtime_ns, there.st_ino
    return None


def _prune(sweep: Sweep, planned: Planned) -> None:
    """Cancel and take off the list the trials that the command no longer names."""
    for run in forget(sweep, [trial.run_id for trial in planned.trials]):
        executor = executor_for(run.read_plan().executor)
        was = executor.state(run)
        if was.active:
            executor.cancel(run)
        cancelled = f"was {was.status} and is cancelled; " if was.active else ""
        say(f"{run.run_id}: {cancelled}no longer in the sweep; its directory stays")
