"""`launch completion`: let a shell complete verbs, keys, values, recipes and runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from launcher.cli import options

MARK = "# completion of launch"


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--print", "prints", is_flag=True, help="Print the lines for the shell; write nothing.")
@options.examples("""
    launch completion
    launch completion zsh
    launch completion bash --print
""")
def completion_command(shell: str | None, prints: bool) -> None:
    """Set up completion of verbs, keys, values, recipes and run ids. Default: the shell in SHELL.

    Writes one file below XDG_DATA_HOME and a line in ~/.bashrc or ~/.zshrc that reads it (fish reads its own directory), and
    names both.
    """
    from launcher.cli.completion import SHELLS, source
    from launcher.cli.output import say, show
    from launcher.errors import UserError, choices

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UserError(
            f"no shell that can be completed in: {name or 'SHELL is not set'}",
            remedy=choices(name, list(SHELLS)),
        )
    if prints:
        show(source(name).rstrip("\n"))
        return
    for path in _install(name, source(name)):
        show(str(path))
    say(f"written; a new {name} completes launch")


def _install(shell: str, text: str) -> list[Path]:
    """Write what the shell reads; returns the files that were changed."""
    from launcher.runs.files import named, write_text

    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    file = (
        configuration / "fish/completions/launch.fish"
        if shell == "fish"
        else data / f"launcher/completion.{shell}"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text, mode=0o644)
    if shell == "fish":
        return [file]
    start = home / f".{shell}rc"
    before = start.read_text(encoding="utf-8", errors="surrogateescape") if start.exists() else ""
    if MARK in before:
        return [file]
    line = f'[ -r "{file}" ] && . "{file}"  {MARK}\n'
    with named(start):
        _append(start, line if not before or before.endswith("\n") else f"\n{line}")
    return [file, start]


def _append(path: Path, text: str) -> None:
    """Add text to a file, all of it or nothing: half a line would be said to be wrong in each new shell."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8", errors="surrogateescape") as opened:
            opened.write(text)
    except OSError:
        if path.exists():
            os.truncate(path, size)
        raise
