"""Data files opened for reading, unpacked where they are compressed, and what to say where they can't be."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from io import BufferedReader, FileIO
from pathlib import Path
from shlex import quote

from launcher import paths
from launcher.errors import Problem, UserError
from launcher.near_files import files_in, near_file
from launcher.reading import packed
from launcher.reading.binary_kinds import AS_SAVED
from launcher.reading.messages import mistake

MOST_LISTED = 8
"""Files that a message names."""


def open_file(path: Path) -> BufferedReader:
    """What a file holds, decompressed where it is compressed; UserError where it can't be read."""
    return packed.unpacked(path, open_as_it_is(path))


def open_as_it_is(path: Path) -> BufferedReader:
    """The file opened for reading; UserError where it can't be, with the nearest name that could."""
    if paths.is_dir(path):
        raise mistake(path, None, "is a directory, not a file", _files_in(path))
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise mistake(path, None, "no such file", _what_was_meant(path)) from None
    except (OSError, ValueError) as error:
        text = f"can't be read: {getattr(error, 'strerror', None) or error}"
        raise mistake(path, None, text, "check the path and its permissions") from None
    file: BufferedReader = BufferedReader(FileIO(descriptor, "rb"), packed.BLOCK)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise mistake(path, None, "is not a regular file", "it is read more than once: save it as a file")
    return file


def size_of(path: Path) -> int:
    """Bytes of what a file holds; of a compressed one they are estimated."""
    with open_as_it_is(path) as file:
        times = packed.TYPICAL_RATIO if packed.is_packed(file.peek(packed.BLOCK)) else 1
        return times * file.seek(0, 2)


def inner_name(path: Path) -> str | None:
    """The name of the one file that a zip file holds; None for every other file."""
    with open_as_it_is(path) as file:
        return packed.inner_name(path, file)


def missing_files(given: Iterable[Path]) -> list[Problem]:
    """A problem for each path that is not a readable file."""
    problems: list[Problem] = []
    for path in given:
        try:
            open_as_it_is(path).close()
        except UserError as error:
            problems.extend(error.problems)
    return problems


def _what_was_meant(path: Path) -> str:
    if str(path) == "-":
        return "stdin isn't read, as data are read more than once: save it as a file"
    address = re.search(r"\b(https?|ftp|s3|gs|hf|hdfs):/", str(path))
    if address:
        return f"{address[1]} addresses aren't read: download the file; hub data are named by data.source=ID"
    if variable := re.search(r"\$\{?\w+\}?", str(path)):
        return f"{variable[0]} stands for itself here: variables are the shell's, and it expands none within single quotes"
    if re.search(r"[*?\[]", path.name) and paths.is_dir(path.parent):
        found = sorted(path.parent.glob(path.name))
        if not found:
            return f"no file of {path.parent} is named like that, and patterns aren't expanded: write a list [a.csv,b.csv]"
        if len(found) > MOST_LISTED:
            listed = f"printf '%s\\n' {quote(str(path.parent))}/{path.name} | paste -sd, | sed 's/.*/[&]/' > NEW.txt"
            return f"patterns aren't expanded: of the {len(found):,} files make a list, and give @NEW.txt: {listed}"
        return f"patterns aren't expanded: write a list of files [a.csv,b.csv], here: [{','.join(map(str, found))}]"
    return _nearest_file(path)


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if (guess := near_file(path)) is not None:
        return f"did you mean {guess}?"
    return _files_in(folder) if paths.is_dir(folder) else f"there is no directory {folder} either"


def _files_in(folder: Path) -> str:
    names = files_in(folder)
    if any(name.endswith(".arrow") for name in names):
        return AS_SAVED
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"files in {folder}: {listed}" if names else f"{folder} holds no files"
