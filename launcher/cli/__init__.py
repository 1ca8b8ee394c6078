"""The command line: click only, and the sole place of the launch side that prints or exits.

Every module here imports pydantic, YAML, Jinja2 and rich inside its functions, so that `launch --help` is instant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from launcher import start_up


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script; `args` are those of the process where none are given."""
    if args is not None:
        sys.exit(execute(args))
    start_up.open_streams()
    start_up.end_in_order()
    start_up.keep_from_others(start_up.OTHERS_WRITE)
    start_up.without_plugins()
    start_up.collect_seldom()
    code = execute(sys.argv[1:])
    start_up.stay_ended()
    start_up.leave_garbage()
    sys.exit(code)


def execute(args: Sequence[str]) -> int:
    """Run one command line; every error this project raises on purpose becomes a message and an exit code here.

    So does, in the last resort, what the system refuses: a file that may not be read, a stdout that is full. Where
    nobody reads what is printed any more, it ends without a word, as other tools do; a training goes on.
    """
    try:
        return _refused(args)
    except KeyboardInterrupt as error:
        from launcher.cli.output import report_interrupt

        return report_interrupt(error, as_json="--json" in args)


def _refused(args: Sequence[str]) -> int:
    from launcher.cli.output import (
        EXIT_NO_READER,
        NoReader,
        discard_output,
        replace_unknown_characters,
        report_refusal,
    )

    replace_unknown_characters()
    try:
        return _execute(args)
    except NoReader:
        discard_output()
        return EXIT_NO_READER
    except OSError as error:
        return report_refusal(error, as_json="--json" in args)


def _execute(args: Sequence[str]) -> int:
    import click

    from launcher.cli.app import cli
    from launcher.cli.output import report_error, report_interrupt, report_usage
    from launcher.errors import LauncherError

    try:
        _refuse_stripped_python()
        _refuse_lost_directory()
        if "_LAUNCH_COMPLETE" in os.environ:
            from launcher.cli import completion

            completion.register()
        code = cli.main(args=list(args), prog_name="launch", standalone_mode=False)
    except LauncherError as error:
        return report_error(error, as_json="--json" in args)
    except click.ClickException as error:
        return report_usage(error, as_json="--json" in args)
    except click.Abort as error:
        return report_interrupt(error.__cause__, as_json="--json" in args)
    return code if isinstance(code, int) else 0


def _refuse_stripped_python() -> None:
    """Raises UserError under `python -OO`, which takes the docstrings that help texts and messages are made from."""
    from launcher.errors import UserError

    if sys.flags.optimize > 1:
        text = "Python was told to drop docstrings (-OO, or PYTHONOPTIMIZE=2), which the texts of launch are made from"
        raise UserError(text, remedy="unset PYTHONOPTIMIZE, or set it to 1")


def _refuse_lost_directory() -> None:
    """Raises UserError where the working directory was deleted, to which paths are relative."""
    from pathlib import Path

    from launcher.errors import Problem, UserError

    try:
        Path.cwd()
    except OSError as error:
        gone = Problem(
            f"the working directory can't be used: {error.strerror}", remedy="cd to one that is there"
        )
        raise UserError(gone) from None
