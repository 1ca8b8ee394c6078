"""The command line: click only, and the sole place of the launch side that prints or exits.

Every module here imports pydantic, YAML, Jinja2 and rich inside its functions, so that `launch --help` is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script; `args` are those of the process where none are given."""
    sys.exit(execute(sys.argv[1:] if args is None else args))


def execute(args: Sequence[str]) -> int:
    """Run one command line; every error this project raises on purpose becomes a message and an exit code here.

    So does, in the last resort, what the system refuses: a file that may not be read, a stdout that is full.
    """
    from launcher.cli.output import report_refusal

    try:
        return _execute(args)
    except OSError as error:
        return report_refusal(error, as_json="--json" in args)


def _execute(args: Sequence[str]) -> int:
    import click

    from launcher.cli.app import cli
    from launcher.cli.output import report_error, report_usage
    from launcher.errors import EXIT_INTERRUPTED, LauncherError

    try:
        code = cli.main(args=list(args), prog_name="launch", standalone_mode=False)
    except LauncherError as error:
        return report_error(error, as_json="--json" in args)
    except click.ClickException as error:
        return report_usage(error, as_json="--json" in args)
    except click.Abort:
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0
