"""What is printed and how: data on stdout, prose on stderr, errors in one shape, nothing secret."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

import click

from launcher.errors import EXIT_USAGE, LauncherError, Problem, RunFailed, UserError, listed
from launcher.runs.failure_classes import WANT_ROOM
from launcher.secret_values import HIDDEN, secret_values, without_values
from launcher.visible import columns_of, json_safe, shortened, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SECRET_NAME = re.compile(r"(?:^|[._-])(?:api)?(?:key|token|secret)(?:$|[._-])|passw(?:or)?d", re.IGNORECASE)
EXIT_NO_READER = 141
"""The exit code of a process that wrote to a closed pipe, as a shell says it."""
EXIT_SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a process."""
STDOUT = "stdout"
"""How messages name it where it can't be written."""
ROOM = "free space on its disk, or make it writable"
"""What helps where a file system takes no more."""
LEAST_CELL = 16
"""A cell of a table is not cut shorter than this while there is another to cut."""
WIDTH = 120
"""Columns of a table where no terminal says how many there are."""


class NoReader(Exception):
    """Whoever read stdout or stderr has gone: `launch ... | head -1`. No OSError, of which click makes an exit of 1."""


def printable(text: str) -> str:
    """What may stand on a terminal instead of `text`: no secret, and no character that the terminal would obey."""
    return visible(redact(text))


def say(text: str) -> None:
    """A line of prose on stderr."""
    try:
        click.echo(printable(text), err=True)
    except BrokenPipeError:
        raise NoReader from None


def show(text: str, heading: str = "") -> None:
    """A line of data on stdout, after a bold heading where there is one."""
    _write(click.style(printable(heading), bold=True) + printable(text) if heading else printable(text))


def show_json(value: Any) -> None:
    """The one JSON document of a `--json` call."""
    _write(json_safe(redact(json.dumps(value, indent=2, ensure_ascii=False))))


def rich_text(parts: Iterable[RenderableType]) -> str:
    """Tables and coloured text as stdout shows them, without colours where that is no terminal."""
    from rich.text import Text

    terminal = on_terminal("stdout")
    file = io.StringIO()
    width = None if terminal else WIDTH
    console = make_console(file=file, force_terminal=terminal, width=width, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def show_rich(parts: Iterable[RenderableType]) -> None:
    """`rich_text` on stdout."""
    _write(rich_text(parts))


def make_console(**options: Any) -> Console:
    """One of Rich's consoles, through which nothing passes that isn't `printable`."""
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, *given: Any, **named: Any) -> Iterator[Segment]:
            for segment in super().render(*given, **named):
                ours = segment.control is not None
                yield segment if ours else Segment(printable(segment.text), segment.style)

    return PrintableConsole(**options)


def _write(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        raise NoReader from None
    except OSError as error:
        error.filename = STDOUT
        raise


def report_error(error: LauncherError, *, as_json: bool) -> int:
    """Print an error and return its exit code."""
    if isinstance(error, UserError):
        problems = [_without_secret(problem) for problem in error.problems]
        say(_problem_text(problems))
        document: dict[str, Any] = {"problems": [problem_tree(problem) for problem in problems]}
    else:
        say(f"launch: {error}")
        document = {"error": {"class": getattr(error, "error_class", None), "message": str(error)}}
        if isinstance(error, RunFailed):
            document["error"] = {
                "class": error.error_class,
                "message": error.message,
                "remedy": error.remedy,
            }
    if as_json:
        show_json({"exit_code": error.exit_code, **document})
    return error.exit_code


def report_usage(error: click.ClickException, *, as_json: bool) -> int:
    """Print what is wrong with the command line itself; exit code 2."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        show(error.format_message())
        return EXIT_USAGE if context is not None and context.parent is not None else 0
    message = error.format_message()
    remedy = f"{context.command_path} --help" if context is not None and context.parent is not None else None
    if isinstance(error, click.NoSuchOption) and (key := _key_meant(error.option_name)):
        message, remedy = f"No such option '{error.option_name}'.", f"a key is given as a word: {key}=VALUE"
    say(f"launch: {message}")
    if remedy is not None:
        say(f"    -> {remedy}")
    if as_json:
        show_json({"exit_code": EXIT_USAGE, "problems": [problem_tree(Problem(message, remedy=remedy))]})
    return EXIT_USAGE


def _key_meant(option: str) -> str | None:
    """The key of a recipe that somebody wrote as an option; None where it is none."""
    from launcher.loading.schema import schema_of
    from launcher.recipe.recipe import Recipe

    word = option.strip("-").replace("-", "_")
    return word if word == "recipe" or word in schema_of(Recipe).leaves else None


def report_refusal(error: OSError, *, as_json: bool) -> int:
    """Print what the system refused, perhaps to write on stdout itself; exit code 2."""
    where = None if error.filename is None else str(error.filename)
    if where == STDOUT:
        _discard(sys.stdout)
    try:
        remedy = ROOM if error.errno in WANT_ROOM else None
        problem = Problem(error.strerror or str(error), where, remedy=remedy)
        return report_error(UserError(problem), as_json=as_json)
    except OSError:  # it is said on stderr, and stdout takes no document
        return EXIT_USAGE


def report_interrupt(cause: BaseException | None, *, as_json: bool) -> int:
    """Say that a signal has ended the command, and return its exit code; a terminal may be gone by now."""
    number = signal_of(cause)
    text = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    code = EXIT_SIGNALLED + number
    remedy = next(iter(getattr(cause, "__notes__", ())), None)
    with contextlib.suppress(OSError, NoReader):
        say(f"launch: {text}")
        if remedy is not None:
            say(f"    -> {remedy}")
        if as_json:
            show_json(
                {"exit_code": code, "error": {"class": "interrupted", "message": text, "remedy": remedy}}
            )
    return code


@contextlib.contextmanager
def before_the_start() -> Iterator[None]:
    """Have it said of a signal that ends the command in here that nothing was started."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("nothing was started; the same command begins again")
        raise


def signal_of(interrupt: BaseException | None) -> signal.Signals:
    """Which signal has interrupted the command."""
    return signal.Signals(getattr(interrupt, "number", signal.SIGINT))


def discard_output() -> None:
    """Print nothing any more, here and when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """What is still in its buffer would fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def replace_unknown_characters() -> None:
    """Let characters that a terminal's encoding doesn't have be printed as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def problem_tree(problem: Problem) -> dict[str, Any]:
    """A problem as plain values for JSON."""
    value = problem.value
    plain = value if isinstance(value, str | int | float | bool | None) else str(value)
    return {
        "message": problem.message,
        "where": problem.where,
        "field": problem.field,
        "value": plain,
        "remedy": problem.remedy,
    }


def redact(text: str) -> str:
    """`text` without the values of environment variables that hold keys, tokens and passwords."""
    return without_values(text, secret_values(os.environ))


def is_secret_name(name: str) -> bool:
    """Whether a recipe key of this name would hold a secret; `tokens` does not."""
    return SECRET_NAME.search(name) is not None


def _without_secret(problem: Problem) -> Problem:
    """A key pasted into an override must not come back on the screen."""
    last = (problem.field or "").rpartition(".")[2]
    if problem.value is None or not is_secret_name(last):
        return problem
    return replace(problem, value=HIDDEN)


def _problem_text(problems: Sequence[Problem]) -> str:
    texts = listed(problems)
    if len(texts) == 1:
        return f"launch: {texts[0]}"
    return f"launch: {len(texts)} mistakes, nothing was started\n" + "\n".join(
        f"  {_indented(text)}" for text in texts
    )


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def on_terminal(stream: str = "stderr") -> bool:
    """Whether a stream is a terminal, so that colours and bars make sense."""
    return bool(getattr(sys, stream).isatty()) and os.environ.get("TERM") != "dumb"


def fitted(rows: Sequence[Sequence[str]], shrinks: int, room: int | None = None) -> list[list[str]]:
    """Rows for `table` that are no wider than `room`, or stdout's terminal: the cells of one column are cut, then those of
    the first.

    Elsewhere, such as in a pipe, nothing is cut.
    """
    lines = [list(row) for row in rows]
    room = room or _columns_of_stdout()
    if room is None:
        return lines
    for column, least in ((shrinks, LEAST_CELL), (0, LEAST_CELL), (len(lines[0]) - 1, 0), (shrinks, 1)):
        widths = [max(columns_of(line[each]) for line in lines) for each in range(len(lines[0]))]
        over = sum(widths) + 2 * (len(widths) - 1) - room
        if over > 0:
            most = max(widths[column] - over, min(least, widths[column]))
            for line in lines:
                line[column] = shortened(line[column], most, in_the_middle=column == 0, size_of=columns_of)
    return lines


def _columns_of_stdout() -> int | None:
    """How wide its terminal is; None where it is none."""
    return shutil.get_terminal_size().columns if on_terminal("stdout") else None


def in_full(rows: Sequence[Sequence[str]], least: int) -> list[list[str]]:
    """Rows without as many of their last columns as stdout's terminal has no room for; `least` of them stay."""
    room, count = _columns_of_stdout(), len(rows[0])
    widths = [max(columns_of(row[column]) for row in rows) for column in range(count)]
    while room is not None and count > least and sum(widths[:count]) + 2 * (count - 1) > room:
        count -= 1
    return [list(row[:count]) for row in rows]


def table(rows: Sequence[Sequence[str]], headers: Sequence[str] | None = None, indent: str = "") -> str:
    """Columns padded to their widest cell; numbers are not aligned differently."""
    lines = [list(headers), *map(list, rows)] if headers else [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(columns_of(line[column]) for line in lines) for column in range(len(lines[0]))]

    def padded(cell: str, width: int) -> str:
        return cell + " " * (width - columns_of(cell))

    return "\n".join((indent + "  ".join(map(padded, line, widths))).rstrip() for line in lines)
