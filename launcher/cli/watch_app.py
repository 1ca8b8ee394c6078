"""The live view of `launch watch`: a table of runs, and below it the chosen ones side by side."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.coordinate import Coordinate
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, RichLog, Static

from launcher.cli.output import fitted, printable
from launcher.cli.watched import CURVES, Watch, Watched, log_of
from launcher.report.terminal_chart import chart
from launcher.runs.directory import RunDir

EVERY_S = 2.0
PANEL = 58
"""Columns that a run needs beside others."""
COLUMNS = ("run", "status", "step", "left", "metric or cause")
TIME_LEFT = 3
"""A narrow terminal's table does without it: the panel says it, too."""
NARROW = 76
AROUND = 4
"""Columns at the edges of the table, with its scrollbar."""
STYLES = {
    "running": "green",
    "completed": "bold green",
    "waiting": "yellow",
    "pending": "yellow",
    "stopped": "yellow",
    "failed": "bold red",
    "unreachable": "red",
    "damaged": "red",
    "cancelled": "red",
}


class Logs(Screen[None]):
    """The end of a run's logs, as they grow."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l,q", "dismiss", "Back")]

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run = run
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static(Text(printable(f"Logs of {self._run.run_id}"), style="bold"), id="heading")
        yield RichLog(wrap=True, auto_scroll=True)
        yield Footer()

    def on_mount(self) -> None:
        self._renew()
        self.set_interval(EVERY_S, self._renew)

    def _renew(self) -> None:
        lines = log_of(self._run)
        if lines == self._shown:
            return
        self._shown = lines
        log = self.query_one(RichLog)
        log.clear()
        for line in lines:
            log.write(Text(printable(line)))


class Question(ModalScreen[bool]):
    """Asks before something is done to a run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Static(Text(printable(f"{self._text}\n\ny: yes   n: no"), justify="center"), id="question")


class WatchApp(App[None]):
    """See the module."""

    TITLE = "launch watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #runs { height: auto; max-height: 40%; overflow-x: hidden; scrollbar-size-vertical: 1; }
    #panels { height: 1fr; }
    .panel { width: 1fr; height: 100%; border: round $primary; padding: 0 1; }
    #heading { padding: 0 1; }
    Question { align: center middle; }
    #question { width: 60; height: auto; border: thick $warning; background: $surface; padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop"),
        Binding("r", "resume", "Resume"),
        Binding("l", "logs", "Logs"),
        Binding("c", "curve", "Curve"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, watch: Watch, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._watch = watch
        self._every_s = every_s
        self._found: list[Watched] = []
        self._laid_out: list[str] = []
        """Headers and runs of the table."""
        self._curve = 0
        self._looking = threading.Lock()

    def compose(self) -> ComposeResult:
        yield DataTable(id="runs", cursor_type="row", zebra_stripes=True)
        yield Horizontal(id="panels")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._renew()
        self.set_interval(self._every_s, self._renew)

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self._take(self._found))

    def on_data_table_row_highlighted(self) -> None:
        self._draw()

    def _renew(self) -> None:
        """Look in a thread of its own: a scheduler may take seconds to answer."""
        self.run_worker(self._look, thread=True)

    def _look(self) -> None:
        if not self._looking.acquire(blocking=False):
            return
        try:
            found = self._watch.look()
        finally:
            self._looking.release()
        self.call_from_thread(self._take, found)

    def _take(self, found: list[Watched]) -> None:
        if self._is_closing():
            return
        chosen = self._chosen_id()
        self._found = found
        table = self.query_one(DataTable)
        headers, *rows = _table(found, self.size.width)
        keys = [each.line.run.run_id for each in found]
        if self._laid_out != [*headers, *keys]:
            self._laid_out = [*headers, *keys]
            table.clear(columns=True)
            table.add_columns(*headers)
            for key, row in zip(keys, rows, strict=True):
                table.add_row(*_styled(row), key=key)
            if chosen in keys:
                table.move_cursor(row=keys.index(chosen))
        else:
            for place, row in enumerate(rows):
                for column, cell in enumerate(_styled(row)):
                    table.update_cell_at(Coordinate(place, column), cell, update_width=True)
        self._draw()

    def _is_closing(self) -> bool:
        """Whether the widgets are gone already, while a look that began before comes to its end."""
        return not self.query(DataTable)

    def _chosen_id(self) -> str:
        chosen = self._chosen()
        return "" if chosen is None else chosen.line.run.run_id

    def _chosen(self) -> Watched | None:
        place = self.query_one(DataTable).cursor_row
        return self._found[place] if 0 <= place < len(self._found) else None

    def _draw(self) -> None:
        """Fill the panels: as many runs as there is room for, the chosen one first."""
        if self._is_closing():
            return
        panels = self.query_one("#panels", Horizontal)
        chosen = self._chosen()
        if chosen is None:
            return
        place = self._found.index(chosen)
        count = max(1, min(self.size.width // PANEL, len(self._found)))
        start = min(place, len(self._found) - count)
        shown = self._found[start : start + count]
        if len(panels.children) != count:
            panels.remove_children()
            panels.mount_all([Static(classes="panel") for _ in shown])
            self.call_after_refresh(self._draw)  # once it is known how large they are
        for panel, each in zip(panels.query(Static), shown, strict=False):
            panel.border_title = Text(printable(each.line.run.run_id))
            width = panel.content_size.width or self.size.width // count - 4
            height = panel.content_size.height or self.size.height // 2
            panel.update(Text("\n".join(_panel(each, self._curve, width, height)), no_wrap=True))

    def action_curve(self) -> None:
        """Draw the next figure."""
        self._curve = (self._curve + 1) % len(CURVES)
        self._draw()

    def action_logs(self) -> None:
        """Show the logs of the chosen run."""
        if (chosen := self._chosen()) is not None:
            self.push_screen(Logs(chosen.line.run))

    def action_stop(self) -> None:
        """Ask the chosen run to save and stop."""
        self._ask("stop", active=True, what="save and stop")

    def action_resume(self) -> None:
        """Continue the chosen run."""
        self._ask("resume", active=False, what="continue")

    def _ask(self, verb: str, *, active: bool, what: str) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        run = chosen.line.run
        if chosen.is_active is not active:
            self.notify(printable(f"{run.run_id} is {chosen.line.status}"), severity="warning", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(verb, run)

        self.push_screen(Question(f"{run.run_id}: {what}?"), answered)

    def _do(self, verb: str, run: RunDir) -> None:
        """Run a verb in a process of its own, which a closed terminal doesn't end."""
        command = [sys.executable, "-P", "-m", "launcher", verb, str(run.path)]

        def wait() -> None:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
            )
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[:3]
            severity = "error" if done.returncode in (1, 2) else "information"
            text = printable("\n".join(said) or f"{verb} ended with {done.returncode}")
            if self.is_running:  # it may be closed by now
                self.call_from_thread(self.notify, text, severity=severity, markup=False)

        threading.Thread(target=wait, daemon=True).start()
        self.notify(printable(f"{run.run_id}: {verb}"), markup=False)


def _table(found: Sequence[Watched], width: int) -> list[list[str]]:
    """Headers and rows, no wider than a terminal of this width has room for; of one sweep's trials the headers name it."""
    places = [place for place in range(len(COLUMNS)) if place != TIME_LEFT or width >= NARROW]
    rows = [list(COLUMNS), *(each.line.cells[: len(COLUMNS)] for each in found)]
    sweeps = {row[0].partition(".")[0] for row in rows[1:]}
    if len(found) > 1 and len(sweeps) == 1 and all("." in row[0] for row in rows[1:]):
        start = len(sweeps.pop()) + 1
        rows[0][0] = rows[1][0][:start]
        for row in rows[1:]:
            row[0] = row[0][start:]
    return fitted([[row[place] for place in places] for row in rows], len(places) - 1, width - AROUND)


def _styled(row: Sequence[str]) -> list[Text]:
    cells = [Text(printable(cell), no_wrap=True) for cell in row]
    cells[1].stylize(STYLES.get(row[1], ""))
    return cells


def _wrapped(fact: str, width: int) -> list[str]:
    """A fact on as many lines as it needs; what two blanks divide stays whole where it can."""
    lines: list[str] = []
    for part in fact.split("  "):
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines += textwrap.wrap(part, width)
    return lines


def _panel(each: Watched, curve: int, width: int, height: int) -> list[str]:
    """Facts, then a curve in what is left of the height."""
    name = CURVES[curve].replace("METRIC", each.metric)
    facts = [line for fact in each.facts() for line in _wrapped(printable(fact), width)][: max(height - 5, 1)]
    room = height - len(facts) - 1
    if room < 3:
        return facts[:height]
    steps, values = each.curves.points(name)
    return [*facts, printable(name), *chart(steps, values, width, room)]
