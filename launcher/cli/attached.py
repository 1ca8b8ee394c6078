"""Starts a run's job and stays with it: progress, Ctrl-C, and the words and the exit code at the end."""

from __future__ import annotations

import contextlib
import signal
from types import TracebackType
from typing import Any, Self

from launcher.cli import follow
from launcher.cli.output import EXIT_SIGNALLED, NoReader, say, show, show_json, signal_of
from launcher.cli.progress import Bar, make_bar
from launcher.cli.summary import summary
from launcher.errors import EXIT_OK, DamagedFile, RunFailed, UserError
from launcher.executors import Executor, JobState, executor_for
from launcher.executors.shared.outcome import outcome, state_text
from launcher.runs.directory import RunDir
from launcher.runs.failure_classes import STORAGE

LOCAL_POLL_S = 0.2


class Session:
    """One start of a run. For a local run, Ctrl-C and TERM are ours while the session is entered."""

    def __init__(self, kind: str, *, follow: bool, as_json: bool) -> None:
        self._executor: Executor = executor_for(kind)
        self._local = not self._executor.takes_nodes
        self._kind = kind
        self._follow = follow or self._local
        self._as_json = as_json
        self._interrupts = Interrupts()

    def __enter__(self) -> Self:
        if self._local:
            self._interrupts.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._interrupts.ignore()
        else:
            self._interrupts.restore()

    def start(self, run: RunDir) -> int:
        """Start the job; returns the exit code: that of the run where it is followed, otherwise 0."""
        tail = follow.Tail.at_end(run.events)
        return self._with(run, self._executor.start(run), tail)

    def take_up(self, run: RunDir) -> int:
        """The same where it may have a job already."""
        state = self._executor.state(run)
        if not state.active or state.job_id is None:
            return self.start(run)
        return self._with(run, state.job_id, follow.Tail.at_end(run.events))

    def _with(self, run: RunDir, job_id: str, tail: follow.Tail) -> int:
        """Show the job, where it is followed to its end."""
        document: dict[str, Any] = {
            "run_id": run.run_id,
            "run_dir": str(run.path),
            "executor": self._kind,
            "job_id": job_id,
        }
        if not self._as_json:
            show(run.run_id)
        if self._follow:
            try:
                result = outcome(run, job_id, self._stay(run, tail))
            except KeyboardInterrupt as interrupt:
                with contextlib.suppress(OSError, NoReader):  # the terminal may be gone
                    say(f"{run.run_id} goes on without you; launch stop {run.run_id} would stop it")
                return EXIT_SIGNALLED + signal_of(interrupt)
            except DamagedFile as error:  # nothing was wrong with what was asked: the file system may be gone
                remedy = f"launch status {run.run_id} tells more once its directory can be read"
                raise RunFailed(STORAGE, f"{run.run_id} can't be followed: {error}", remedy) from None
            code = follow.exit_code(result)
            document |= {"exit_code": code, "result": result.tree()}
            say(summary(run, run.read_plan(), result))
        else:
            code = EXIT_OK
            watch = f"launch status {run.run_id}, launch logs {run.run_id} -f"
            say(f"submitted as job {job_id}; watch it: {watch}")
        if self._as_json:
            show_json(document)
        return code

    def _stay(self, run: RunDir, tail: follow.Tail) -> JobState:
        """Show the run until it is over; returns the state of its job then."""
        with make_bar() as bar:
            watch = FollowedRun(self._executor, run, bar, quiet=self._local)
            if self._local:
                bar.update("starting Python", None, None)
            asked = (
                follow.every(LOCAL_POLL_S, watch.is_over)
                if self._local
                else follow.every(follow.SCHEDULER_POLL_S, watch.is_over, follow.SCHEDULER_WIDEST_S)
            )

            def is_over() -> bool:
                self._interrupts.act(self._executor, run, bar)
                return asked()

            follow.follow(tail, is_over, bar)
        return watch.state


class FollowedRun:
    """Asks the executor for the job's state and shows when it changes."""

    def __init__(self, executor: Executor, run: RunDir, bar: Bar, *, quiet: bool = False) -> None:
        self._executor = executor
        self._run = run
        self._bar = bar
        self._quiet = quiet
        self._shown: str | None = None
        self.state = JobState("unknown")
        """As of the last time that it was asked for."""

    def is_over(self) -> bool:
        """Whether the job has ended and won't come back."""
        state = self._executor.state(self._run)
        text = state_text(state)
        # Slurm has many words for not answering; once is enough.
        news = "unreachable" if state.status == "unreachable" else text
        if news != self._shown and not self._quiet:
            self._bar.line(text)
        self._shown = news
        self.state = state
        return not state.active


class Interrupts:
    """Ctrl-C and TERM: the first asks the run to save and stop, the second kills it."""

    def __init__(self) -> None:
        self._wanted = 0
        self._done = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._count)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def ignore(self) -> None:
        """From here to the end of this process: how the run ended is settled, and so is the exit code."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._before.clear()

    def act(self, executor: Executor, run: RunDir, bar: Bar) -> None:
        """Do what the signals since the last call ask for."""
        if self._wanted >= 1 and self._done == 0:
            self._done = 1
            try:
                executor.stop(run)
            except UserError:
                if executor.state(run).active:
                    raise
                return  # it has just ended by itself
            except RunFailed as error:
                bar.line(f"{error.message}; press Ctrl-C again to kill it")
                return
            bar.line("saving, then stopping; press Ctrl-C again to kill it instead")
        if self._wanted >= 2 and self._done == 1:
            self._done = 2
            bar.line("killing it")
            executor.cancel(run)

    def _count(self, *_: object) -> None:
        self._wanted += 1
