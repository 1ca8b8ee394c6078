"""`launch logs`: every rank's log and the job's own, merged line by line or one alone."""

from __future__ import annotations

import itertools
import operator
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.cli.follow import Tail
    from launcher.runs.directory import RunDir

POLL_S = 0.3
PRINTED_TOGETHER = 1000
"""Lines of a log that has ended."""
LINE_BYTES = 1000
"""What a line of a log takes at most, as a rule."""


@click.command("logs")
@options.only_argument("RUN")
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines until the run has ended.")
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(min=0),
    metavar="N",
    help="Start with only the last N lines of each source.",
)
@click.option(
    "--rank", type=click.IntRange(min=0), help="Only this rank, without source names before the lines."
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch logs smoke-20260131
    launch logs smoke-20260131 -f --tail 20
    launch logs smoke-20260131 -f --rank 0
""")
def logs_command(
    reference: str, follow: bool, tail: int | None, rank: int | None, runs_dir: Path | None, as_json: bool
) -> None:
    """Logs of a run: of its job, its training and all ranks, each line after the name of its source; or of one rank.

    -f also follows a run whose terminal was closed.
    """
    from launcher.cli.output import say, show, show_json
    from launcher.errors import UserError
    from launcher.runs.finding import find

    if follow and as_json:
        raise options.misused("--json is for a log that has ended: leave out -f")
    directory = options.resolve_runs_dir(runs_dir)
    if (sweep := options.sweep_meant(reference, directory)) is not None:
        trials = ", ".join(trial.run_id for trial in sweep.trials[:5]) or "none yet"
        message = f"is a sweep of {len(sweep.trials)} trials, each with its own logs"
        raise UserError(message, where=sweep.name, remedy=f"name one: {trials}")
    run = find(reference, directory)
    if rank is not None and not follow and not run.rank_log(rank).exists():
        written = ", ".join(sorted(_ranks(run))) or "none yet"
        raise UserError(f"rank {rank} has no log", where=run.run_id, remedy=f"ranks with a log: {written}")
    lines = _follow(run, rank, tail) if follow else _written(run, rank, tail)
    if as_json:
        show_json([{"source": source, "line": line} for source, line in lines])
        return
    texts = (line if rank is not None else f"[{source}] {line}" for source, line in lines)
    printed = False
    while together := list(itertools.islice(texts, 1 if follow else PRINTED_TOGETHER)):
        show("\n".join(together))
        printed = True
    if not printed and rank is not None:
        say(f"rank {rank} of {run.run_id} printed nothing: launch logs {run.run_id} shows what the run says")
    elif not printed:
        say(f"{run.run_id} has written no line yet: launch status {run.run_id}")


def _written(run: RunDir, rank: int | None, most: int | None) -> Iterator[tuple[str, str]]:
    """(source, line) of what is written, one source after the other: all, or the last `most` lines of each."""
    tails: dict[Path, Tail] = {}
    yield from _new_lines(run, rank, tails, most)
    for path, tail in tails.items():
        if tail.rest() and path != run.events:
            yield _source(path), tail.rest()


def _last(run: RunDir, path: Path, tails: dict[Path, Tail], most: int) -> Iterable[str]:
    """The last `most` lines of a file: what is read from its end grows until it has them, so that the rest is never read."""
    from launcher.cli.follow import Tail

    size = path.stat().st_size if path.exists() else 0
    for read in itertools.accumulate(itertools.repeat(8), operator.mul, initial=max(most, 1) * LINE_BYTES):
        # A line that begins before that, and the end of which may be all that is read of it, is left out.
        start = max(size - read - 1, 0)
        tails[path] = Tail(path, start)
        lines = itertools.islice(tails[path].lines(), int(start > 0), None)
        found = deque(_told_lines(run, path, lines), most)
        if len(found) == most or start == 0:
            break
    return found


def _follow(run: RunDir, rank: int | None, most: int | None) -> Iterator[tuple[str, str]]:
    """(source, line) of what is written, the last `most` of each source, and of all that is added until the run has ended."""
    from launcher.cli.follow import SCHEDULER_POLL_S, SCHEDULER_WIDEST_S, every
    from launcher.executors import executor_for

    executor = executor_for(run.read_plan().executor)
    intervals = (SCHEDULER_POLL_S, SCHEDULER_WIDEST_S) if executor.takes_nodes else (POLL_S, 0.0)
    is_over = every(intervals[0], lambda: not executor.state(run).active, intervals[1])
    tails: dict[Path, Tail] = {}
    while True:
        over = is_over()
        yield from _new_lines(run, rank, tails, most)
        if over:
            return
        most = None
        time.sleep(POLL_S)


def _new_lines(
    run: RunDir, rank: int | None, tails: dict[Path, Tail], most: int | None
) -> Iterator[tuple[str, str]]:
    """(source, line) since the last look: all, or the last `most` lines of each source."""
    from launcher.cli.follow import Tail

    for path in _files(run) if rank is None else [run.rank_log(rank)]:
        if most is None:
            lines: Iterable[str] = _told_lines(run, path, tails.setdefault(path, Tail(path)).lines())
        else:
            lines = _last(run, path, tails, most)
        for line in lines:
            yield _source(path), line


def _told_lines(run: RunDir, path: Path, lines: Iterator[str]) -> Iterator[str]:
    return filter(None, map(_told, lines)) if path == run.events else lines


def _files(run: RunDir) -> list[Path]:
    """The job's logs, what the training tells, and the logs of the ranks."""
    jobs: list[Path] = []
    ranks: list[Path] = []
    for path in sorted(run.logs.glob("*.log"), key=_order):
        (ranks if path.stem.startswith("rank_") else jobs).append(path)
    return [*jobs, run.events, *ranks]


def _told(line: str) -> str | None:
    """A line of the events' file for a reader, after the time of day."""
    import datetime as dt

    from launcher.cli.progress import event_text
    from launcher.runs.events import parse_event

    event = parse_event(line)
    text = None if event is None else event_text(event)
    if event is None or text is None:
        return None
    try:
        when = dt.datetime.fromtimestamp(event.t or 0.0).astimezone()
    except (OSError, OverflowError, ValueError):
        return text
    return f"{when:%H:%M:%S} {text}"


def _order(path: Path) -> tuple[bool, int, str]:
    """The job's logs first, then ranks by number."""
    number = path.stem.removeprefix("rank_")
    return (path.stem.startswith("rank_"), int(number) if number.isdecimal() else 0, path.stem)


def _source(path: Path) -> str:
    return "run" if path.stem == "events" else path.stem.replace("_", " ")


def _ranks(run: RunDir) -> Iterator[str]:
    for path in sorted(run.logs.glob("rank_*.log"), key=_order):
        yield path.stem.removeprefix("rank_")
