"""How mistakes in data files are told: with the file and the line."""

from __future__ import annotations

import shlex
from pathlib import Path

from launcher.errors import UserError
from launcher.figures import quantity


def where(path: Path, position: int | None) -> str:
    """`file:position`, as messages name it."""
    return str(path) if position is None else f"{path}:{position}"


def mistake(path: Path, position: int | None, message: str, remedy: str | None) -> UserError:
    """What is wrong with a file, or with one of its lines."""
    return UserError(message, where=where(path, position), remedy=remedy)


def left_out_rows(where: object, count: int) -> str:
    """The note on rows that have none of the classes that their file, or data set, declares."""
    return f"{where}: {quantity(count, 'row')} without a label {'is' if count == 1 else 'are'} left out"


def as_word(path: Path) -> str:
    """The name of a file as one word of a shell's command, whatever is in it."""
    return shlex.quote(path.name)


def into_new(path: Path, suffix: str | None = None) -> str:
    """The end of a command that reads a file and writes one named NEW, with the same extension or another."""
    return f"{as_word(path)} > {shlex.quote('NEW' + (path.suffix if suffix is None else suffix))}"
