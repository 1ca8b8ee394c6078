"""Files of text, line by line: UTF-8 with or without a byte order mark, and what to say where they aren't."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

from launcher import paths
from launcher.errors import Problem, UserError, nearest


def where(path: Path, position: int | None) -> str:
    """`file:position`, as messages name it."""
    return str(path) if position is None else f"{path}:{position}"


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and line, without its end; only newlines end a line, no other separator of Unicode."""
    for number, line in raw_lines(path):
        yield number, line.removesuffix("\n").removesuffix("\r")


def raw_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and line with its end, decoded; UserError where the file is not UTF-8 text."""
    with open_file(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.removeprefix(b"\xef\xbb\xbf").decode() if number == 1 else raw.decode()
            except UnicodeDecodeError as error:
                _not_utf8(path, number, raw, error)
            if "\0" in line:
                raise mistake(path, number, "holds a NUL byte", "remove it, or save the file as UTF-8 text")
            yield number, line


def _not_utf8(path: Path, number: int, raw: bytes, error: UnicodeDecodeError) -> NoReturn:
    if number == 1 and raw.startswith(b"\x1f\x8b"):
        raise mistake(path, None, "is compressed", "unpack it: gunzip")
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise mistake(path, None, "is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8")
    text = f"is not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}"
    raise mistake(path, number, text, "save the file as UTF-8, for example with iconv -f LATIN1 -t UTF-8")


def size_of(path: Path) -> int:
    """Bytes of a file."""
    with open_file(path) as file:
        return file.seek(0, 2)


def open_file(path: Path) -> BufferedReader:
    """The file opened for reading; UserError where it can't be, with the nearest name that could."""
    if paths.is_dir(path):
        raise mistake(path, None, "is a directory, not a file", _files_in(path))
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except FileNotFoundError:
        raise mistake(path, None, "no such file", _nearest_file(path)) from None
    except OSError as error:
        text = f"can't be read: {error.strerror}"
        raise mistake(path, None, text, "check the path and its permissions") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise mistake(path, None, "is not a regular file", "it is read more than once: save it as a file")
    return file


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not paths.is_dir(folder):
        return f"there is no directory {folder} either"
    names = _data_files(folder)
    guess = nearest(path.name, names)
    return f"did you mean {folder / guess}?" if guess else _files_in(folder)


def _files_in(folder: Path) -> str:
    names = _data_files(folder)
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"files in {folder}: {listed}" if names else f"{folder} holds no files"


def _data_files(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return []


def mistake(path: Path, position: int | None, message: str, remedy: str | None) -> UserError:
    """What is wrong with a file, or with one of its lines."""
    return UserError(Problem(message, where=where(path, position), remedy=remedy))
