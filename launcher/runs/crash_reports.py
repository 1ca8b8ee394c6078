"""What Python's faulthandler leaves in a rank's log where native code crashes: last words, and where Python stood.

Standard library alone, since a node reads it when an attempt ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.visible import shortened

MEANINGS: Mapping[str, str] = {
    "SIGSEGV": "native code touched memory that isn't its own",
    "SIGBUS": "memory of a file that native code used was not there",
    "SIGABRT": "native code gave up",
    "SIGFPE": "native code divided an integer by zero",
    "SIGILL": "native code used an instruction that this processor doesn't have",
}
"""Signals by which native code crashes, and what they say."""
MOST_BYTES = 1 << 18
"""Of a log's end: the stacks of a hundred threads."""
FRAMES = 6
"""Innermost frames that a message holds."""
COLUMNS = 64
"""Of a frame's place, so that a line fits a terminal of 80."""
_FATAL = "Fatal Python error: "
_THREAD = re.compile(
    r"^(?P<current>Current thread|Thread) 0x[0-9a-f]+.*\(most recent call first\):$", re.MULTILINE
)
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+|\?+) in (?P<name>.+)$', re.MULTILINE)
_LAST_WORDS = re.compile(
    r"^(terminate called|  what\(\):|free\(\)|malloc\(|realloc\(|double free|corrupted |munmap_chunk|\*\*\* )"
    r"|[Aa]ssert(ion)?\b.*fail|Check failed"
)
"""How libraries say why they give up."""
_INSTALLED = re.compile(r".*/(?:site|dist)-packages/|.*/lib/python3\.\d+/")


@dataclass(frozen=True)
class Crash:
    """Where a process stood when native code crashed."""

    frames: tuple[str, ...]
    """As `NAME, FILE:LINE`, the innermost first."""
    library: str | None
    """The package that called native code last, None where it was none that is installed."""
    words: tuple[str, ...] = ()
    """What the library said."""
    is_elsewhere: bool = False
    """Whether it was a thread without Python that crashed; the frames are those of the main one."""

    def lines(self) -> tuple[str, ...]:
        """For a message, where they stand below each other or in one line."""
        first = "while the main thread was in" if self.is_elsewhere else "in"
        starts = [first, *["from"] * (len(self.frames) - 1)]
        frames = [f"  {start} {frame}" for start, frame in zip(starts, self.frames, strict=True)]
        return (*self.words, *frames)


def crash_in(log: str, own: Path) -> Crash | None:
    """The newest crash that the end of a log tells of, None where there is none; files in `own` are shown by their names."""
    before, fatal, report = log.rpartition(_FATAL)
    marks = list(_THREAD.finditer(report)) if fatal else []
    if not marks:
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(report)]
    threads = [
        (mark["current"] == "Current thread", list(_FRAME.finditer(report[mark.end() : end])))
        for mark, end in zip(marks, ends, strict=True)
    ]
    current = next((frames for is_current, frames in threads if is_current and frames), None)
    frames = (current or threads[-1][1])[:FRAMES]
    places = [_place(frame["file"], own) for frame in frames]
    shown = tuple(
        f"{frame['name']}, {shortened(place, COLUMNS - len(frame['name']), in_the_middle=True)}:{frame['line']}"
        for frame, place in zip(frames, places, strict=True)
    )
    return Crash(shown, _library(frame["file"] for frame in frames), _words(before), current is None)


def _place(file: str, own: Path) -> str:
    """A file as a reader knows it: below its packages, the run's directory or ours."""
    ours = str(Path(__file__).resolve().parents[2])
    for directory in (str(own), ours):
        if file.startswith(f"{directory}/"):
            return file[len(directory) + 1 :]
    return _INSTALLED.sub("", file)


def _library(files: Iterable[str]) -> str | None:
    """The package of the innermost file that is an installed one's."""
    for file in files:
        _, is_installed, inside = re.sub("/dist-packages/", "/site-packages/", file).rpartition(
            "/site-packages/"
        )
        if is_installed and "/" in inside and not inside.startswith("launcher/"):
            return inside.partition("/")[0]
    return None


def _words(before: str) -> tuple[str, ...]:
    last: Sequence[str] = [line for line in before.splitlines() if line.strip()][-3:]
    return tuple(shortened(line.strip(), COLUMNS * 3) for line in last if _LAST_WORDS.search(line))
