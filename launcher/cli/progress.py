"""Live progress on stderr: bars on a terminal, plain lines at sensible intervals elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from launcher.cli.output import make_console, on_terminal, printable, say
from launcher.figures import human_number, human_seconds
from launcher.runs.events import Evaluated, Event, Notice, Phase, Probed, Step

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_S = 5.0
WIDE = 80
"""Columns that a terminal needs for a drawn bar beside the figures."""


class Bar(Protocol):
    """Shows named activities, each with a count of things done out of a total that may be unknown."""

    def update(self, name: str, done: int | None, total: int | None, note: str = "") -> None:
        """Show that `done` of `total` are done; None where there is nothing to count."""

    def line(self, text: str) -> None:
        """A line of prose that stays on the screen."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_bar() -> Bar:
    """A bar on a terminal, lines elsewhere."""
    return RichBar() if on_terminal() else PlainBar()


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Says on a terminal, until it is over, what is being done that has no count and may take long."""
    if not on_terminal():
        yield
        return
    from rich.text import Text

    with make_console(stderr=True).status(Text(printable(what)), refresh_per_second=4):
        yield


class PlainBar:
    """One line when an activity begins or ends, and one every few seconds between."""

    def __init__(self, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._name: str | None = None
        self._shown_at = 0.0

    def update(self, name: str, done: int | None, total: int | None, note: str = "") -> None:
        now = time.monotonic()
        ended = done is not None and done == total
        if name == self._name and not ended and now - self._shown_at < self._interval_s:
            return
        self._name, self._shown_at = name, now
        say(f"{name}{_count(done, total)}{'  ' + note if note else ''}")

    def line(self, text: str) -> None:
        say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class RichBar:
    """The activity under way on one line, which keeps its name and counts where the terminal is narrow."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
        from rich.table import Column

        console = make_console(stderr=True)
        kept, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False, table_column=kept),
            TextColumn("{task.fields[count]}", markup=False, table_column=kept),
            TextColumn("{task.fields[note]}", markup=False, table_column=cut),
        ]
        if console.width >= WIDE:
            columns.insert(1, BarColumn(bar_width=30))
        self._progress: Progress = Progress(*columns, console=console, transient=True, expand=True)
        self._name: str | None = None
        self._task: TaskID | None = None

    def update(self, name: str, done: int | None, total: int | None, note: str = "") -> None:
        if self._task is None or name != self._name:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._name = name
            self._task = self._progress.add_task(printable(name), total=total, count="", note="")
        self._progress.update(
            self._task,
            completed=done or 0,
            total=total,
            count=_count(done, total).strip(),
            note=printable(note),
        )

    def line(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _count(done: int | None, total: int | None) -> str:
    return "" if done is None else f" {done}" if total is None else f" {done}/{total}"


def show_event(bar: Bar, event: Event) -> None:
    """Show one event of a run's `events.jsonl`."""
    match event:
        case Phase():
            bar.update(event.name, event.done, event.total)
        case Step():
            bar.update("step", event.step, event.total, _step_note(event))
        case _:
            if (text := event_text(event)) is not None:
                bar.line(text)


def event_text(event: Event) -> str | None:
    """One event as a line of a log; None where it says nothing to a reader."""
    match event:
        case Phase():
            return f"{event.name}{_count(event.done, event.total)}"
        case Step():
            return f"step{_count(event.step, event.total)}  {_step_note(event)}"
        case Evaluated():
            return _eval_line(event)
        case Probed():
            return _probe_lines(event)
        case Notice():
            return ("warning: " if event.level == "warning" else "") + event.text
        case _:
            return None


def _step_note(event: Step) -> str:
    parts = [f"loss {human_number(event.loss)}"]
    if event.examples_per_s is not None:
        parts.append(f"{event.examples_per_s:.0f} examples/s")
    if event.eta_s is not None:
        parts.append(f"{human_seconds(event.eta_s)} left")
    return "  ".join(parts)


def _eval_line(event: Evaluated) -> str:
    best = "  (best so far)" if event.best else ""
    metrics = "  ".join(f"{name} {human_number(value)}" for name, value in metric_items(event.metrics))
    return f"{event.split} at step {event.step}: {metrics}{best}"


def _probe_lines(event: Probed) -> str:
    rows = [
        f"  {probe.probability:.3f}  rank {probe.rank:<5} {probe.text}  {probe.answer}"
        for probe in event.probes
    ]
    return "\n".join([f"probes at step {event.step}:", *rows])


def metric_items(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Metrics without the `eval/` before their names, the loss last."""
    named = [(name.removeprefix("eval/"), value) for name, value in metrics.items()]
    return sorted(named, key=lambda item: item[0] == "loss")
