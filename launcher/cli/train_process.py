"""The verbs that need torch: `python -m launcher.train VERB` in a process of its own, read as JSON events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeVar

from launcher.cli.output import on_terminal, say
from launcher.cli.progress import make_bar
from launcher.errors import EXIT_USAGE, LauncherError, RunFailed, UserError
from launcher.executors.shared.environment import single_process
from launcher.parent_death import PARENT
from launcher.runs import address_limit
from launcher.runs.events import Notice, Progress, VerbDone, VerbFailed, parse_event
from launcher.runs.records import make

R = TypeVar("R")
LAST_LINES = 30
ON_SHARED_CORES = {"GOMP_SPINCOUNT": "10000"}
"""As a job on a CPU has it: threads that wait burn no core that somebody else could use."""
GRACE_S = 10.0
"""A process that was asked to end has so long to take back what is half done."""


def run_verb(arguments: Sequence[str], kind: type[R]) -> R:
    """The verb's result, which is of this kind; see `runs/verb_results.py`. Its progress is shown on stderr meanwhile.

    Raises UserError with the problems that the verb reports, or RunFailed; a verb that dies shows its own traceback.
    """
    with make_bar() as bar:
        if on_terminal():  # elsewhere a refusal stands alone
            bar.update("starting Python", None, None)
        return _answer(
            arguments, kind, bar.line, lambda event: bar.update(event.name, event.done, event.total), []
        )


def _answer(
    arguments: Sequence[str],
    kind: type[R],
    tell: Callable[[str], None],
    show: Callable[[Progress], None],
    started: list[subprocess.Popen[str]],
) -> R:
    command = [sys.executable, "-P", "-m", "launcher.train", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env={**ON_SHARED_CORES, **single_process(os.environ), PARENT: str(os.getpid())},
        )
        started.append(process)
        assert process.stdout is not None
        try:
            outcome = _read_events(process.stdout, tell, show)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if not isinstance(outcome, VerbDone):
            _refuse_narrow(arguments[0], outcome, errors)
        if outcome is None:
            raise RunFailed("crashed", _crash(errors, arguments[0], code))
    if isinstance(outcome, VerbFailed):
        raise _error(outcome)
    return make(kind, outcome.others, f"what {arguments[0]} has answered")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_events(
    stream: IO[str], tell: Callable[[str], None], show: Callable[[Progress], None]
) -> VerbDone | VerbFailed | None:
    outcome = None
    for line in stream:
        match parse_event(line):
            case Progress() as event:
                show(event)
            case Notice() as event:
                tell(event.text)
            case VerbDone() | VerbFailed() as event:
                outcome = event
    return outcome


def _error(event: VerbFailed) -> UserError | RunFailed:
    problems = event.problems
    if event.exit_code == EXIT_USAGE:
        return UserError(problems)
    remedy = problems[0].remedy if len(problems) == 1 else None
    said = [replace(problem, remedy=None) if remedy else problem for problem in problems]
    return RunFailed(event.kind, "\n".join(map(str, said)), remedy)


def _refuse_narrow(verb: str, failed: VerbFailed | None, errors: IO[str]) -> None:
    """Raises UserError where a limit on the addresses of a process is why a verb failed, whatever else it says of it."""
    errors.seek(0)
    words = errors.read() if failed is None else "\n".join(problem.message for problem in failed.problems)
    reason = address_limit.too_small(words)
    if reason is not None:
        raise UserError(f"{verb} {reason}", remedy=address_limit.REMEDY)


def _crash(errors: IO[str], verb: str, code: int) -> str:
    errors.seek(0)
    tail = errors.read().splitlines()[-LAST_LINES:]
    for line in tail:
        say(line)
    return f"{verb} ended with code {code} before it had a result"


def write_recipe(directory: Path, text: str) -> Path:
    """A resolved recipe in a file, for a verb that takes one."""
    path = directory / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run_many(
    jobs: Mapping[str, Sequence[str]], kind: type[R], at_once: int
) -> tuple[list[R], dict[str, LauncherError]]:
    """Several verbs in processes of their own, by name: the results, and the errors by name.

    What they have to say is said with the name before it. Ctrl-C reaches each of them, and what they say then counts.
    """
    errors: dict[str, LauncherError] = {}
    done: list[R] = []
    started: list[subprocess.Popen[str]] = []
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with ThreadPoolExecutor(max(1, at_once)) as pool:
            answers = {
                name: pool.submit(_answer, arguments, kind, say, lambda _: None, started)
                for name, arguments in jobs.items()
            }
            try:
                for name, answer in answers.items():
                    try:
                        done.append(answer.result())
                    except LauncherError as error:
                        errors[name] = error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in started:
                    _end(process)
                raise
    finally:
        signal.signal(signal.SIGINT, before)
    return done, errors
