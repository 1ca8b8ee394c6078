"""Options and arguments that several verbs share."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from launcher.runs.directory import RunDir
    from launcher.sweeps.sweep import Sweep

Function = TypeVar("Function", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")

assignments = click.argument("assignments", nargs=-1, metavar="recipe=NAME|PATH [key=value ...]")

run_argument = click.argument("reference", metavar="RUN")
run_or_sweep = click.argument("reference", metavar="RUN | SWEEP")


def only_argument(metavar: str, *, required: bool = True) -> Callable[[Function], Function]:
    """`reference`, of a verb that takes one and nothing else; None where none is required. Of several, `watch` is proposed."""
    return click.argument("reference", metavar=metavar, nargs=-1, required=required, callback=_only)


def _only(context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> str | None:
    if len(given) > 1:
        from launcher.errors import UserError

        remedy = f"launch {context.info_name} {shlex.quote(given[0])}; launch watch {shlex.join(given)} shows all of them"
        raise UserError(f"takes one at a time, not {len(given)}", context.info_name, remedy=remedy)
    return given[0] if given else None


class GivenPath(click.Path):
    """A file or directory of the user's; no word at all, as of an unset variable, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("names no file or directory", param, ctx)
        return super().convert(value, param, ctx)


runs_dir = click.option(
    "--runs-dir",
    type=GivenPath(path_type=Path),
    default=None,
    help="Where the runs are; default LAUNCH_RUNS_DIR, or runs.",
)

BYTES = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes of a word that are no characters in the user's locale."""
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class Age(click.ParamType[float]):
    """A duration such as `12h`, as seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(s|min|h|d|w)", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no duration: 90s, 30min, 12h, 2d and 4w are some", param, ctx)
        return float(found[1]) * UNITS_S[found[2]]


class Text(click.ParamType[str]):
    """Text of a user's; none at all, as of an unset variable, is a mistake.

    One that came as UTF-8 under a locale that isn't is read as that.
    """

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail("holds no text", param, ctx)
        try:
            return os.fsencode(text).decode() if BYTES.search(text) else text
        except UnicodeDecodeError as error:
            self.fail(f"is not UTF-8: byte {error.object[error.start]:#x}", param, ctx)


loss_file = click.option(
    "--loss-file",
    metavar="FILE",
    type=GivenPath(path_type=Path),
    default=None,
    help="Minimise loss(logits, labels) of this Python file, which is copied into the run and executed on the nodes.",
)


def misused(message: str) -> click.UsageError:
    """Words or options that don't go together, as a mistake of the verb that is running."""
    return click.UsageError(message, click.get_current_context())


def resolve_runs_dir(given: Path | None) -> Path:
    """The directory of runs: the option, LAUNCH_RUNS_DIR, or `runs`. Raises UserError where the variable is empty."""
    from launcher.errors import UserError

    if given is not None:
        return given
    named = os.environ.get("LAUNCH_RUNS_DIR", "runs")
    if not named:
        remedy = "unset it, or name the directory of your runs"
        raise UserError("names no directory", "environment LAUNCH_RUNS_DIR", "runs_dir", "", remedy)
    return Path(named)


def examples(text: str) -> Callable[[Function], Function]:
    """Add examples to a command's help; one command a line."""

    def add(function: Function) -> Function:
        body = "\n".join("  " + line.strip() for line in text.strip().splitlines())
        prose = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = f"{prose}\n\n\b\nExamples:\n{body}\n"
        return function

    return add


def sweep_meant(reference: str, runs_dir: Path) -> Sweep | None:
    """The sweep of this name or path, None where there is none."""
    from launcher.sweeps.sweep import find

    return find(reference, runs_dir)


def runs_meant(references: Iterable[str], runs_dir: Path) -> list[RunDir]:
    """The runs that references mean, the trials of a sweep for its name, each once."""
    from launcher.runs.finding import find

    found: dict[Path, RunDir] = {}
    for reference in references:
        sweep = sweep_meant(reference, runs_dir)
        for run in [find(reference, runs_dir)] if sweep is None else sweep.runs():
            found.setdefault(run.path, run)
    return list(found.values())


def believed(runs: Sequence[RunDir]) -> list[RunDir]:
    """Those of some trials that are ours alone, with a note on each other. Raises UserError where none is."""
    from launcher.cli.output import say
    from launcher.errors import LauncherError
    from launcher.runs.trust import checked

    ours: list[RunDir] = []
    for run in runs:
        try:
            ours.append(checked(run))
        except LauncherError as error:
            if not ours and run is runs[-1]:
                raise
            say(f"note: {run.run_id} is left out: {error}")
    return ours
