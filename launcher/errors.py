"""Every exception this project raises on purpose.

    LauncherError
    ├── UserError          a mistake in what was asked; exit code 2, no traceback, nothing created
    │   ├── DamagedFile    a file of a run that can't be read (a ValueError, too)
    │   └── UntrustedFile  a file of a run that somebody else owns or could have changed
    ├── RunFailed          the run itself failed; exit code 1, recorded in result.json
    └── RunStopped         stopped as planned and resumable; exit code 75

A `UserError` carries every mistake found, not the first one: see `Problem`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNRECORDED = 74
"""Of a rank, torchrun or a job's script: the run directory takes no writes, so that the end could not be recorded."""
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130
"""Ctrl-C on a command that has no run of its own, as a shell says it."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it stands, what was written, what is wrong, and what to do."""

    message: str
    """What is wrong, as one sentence without the location ("unknown key", "must be at least 1")."""
    where: str | None = None
    """`file:line`, `override`, `environment LAUNCH_NODES`, or a data file with its row."""
    field: str | None = None
    """Full dotted name of the key, where there is one."""
    value: object = None
    """What was written, as it was understood."""
    remedy: str | None = None
    """What is allowed, the nearest match, or the change that mends it."""

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self._assignment()) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text}\n    -> {self.remedy}" if self.remedy else text

    def _assignment(self) -> str | None:
        if self.field is None:
            return None
        return self.field if self.value is None else f"{self.field}={_shorten(self.value)}"


def listed(problems: Sequence[Problem]) -> list[str]:
    """Each problem as text. A remedy that several in a row share is said once, behind the last of them."""
    following = (*problems[1:], None)
    return [
        str(
            replace(problem, remedy=None) if after is not None and after.remedy == problem.remedy else problem
        )
        for problem, after in zip(problems, following, strict=True)
    ]


@dataclass(frozen=True)
class Conflict:
    """Values that are fine one by one but not together."""

    fields: tuple[str, ...]
    """Dotted names of the keys involved; the message points at the first."""
    message: str
    remedy: str


class LauncherError(Exception):
    """Root of the tree; the CLI turns any of these into a message and an exit code."""

    exit_code = EXIT_FAILED


class UserError(LauncherError):
    """One or more mistakes in a recipe, an override, the environment or a local data file."""

    exit_code = EXIT_USAGE

    def __init__(
        self,
        problems: Problem | str | Iterable[Problem],
        where: str | None = None,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        if isinstance(problems, str):  # the message of the only one
            problems = Problem(problems, where, field, value, remedy)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(listed(self.problems)))


class DamagedFile(UserError, ValueError):
    """A file of a run directory does not hold what it should."""


class UntrustedFile(UserError):
    """A file of a run directory belongs to somebody else, or could have been changed by others."""


class RunFailed(LauncherError):
    """The run failed for a reason that is worth a class: `data`, `memory`, `diverged`, `checkpoint`, ..."""

    exit_code = EXIT_FAILED

    def __init__(
        self,
        error_class: str,
        message: str,
        remedy: str | None = None,
        step: int | None = None,
        *,
        rank: int | None = None,
        host: str | None = None,
    ) -> None:
        self.error_class = error_class
        self.message = message
        self.remedy = remedy
        self.step = step
        """Optimizer step at which it failed, where the one who raises it knows better than the events."""
        self.rank, self.host = rank, host
        """Which rank is to blame, and on which node, where that is another than the one who raises it."""
        super().__init__(f"{message}\n    -> {remedy}" if remedy else message)


class RunStopped(LauncherError):
    """The run saved its state and stopped because it was asked to; `launch resume` continues it."""

    exit_code = EXIT_STOPPED


def first_line(error: BaseException) -> str:
    """The first line of what an error says, the name of its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(word: str, allowed: Sequence[str]) -> str | None:
    """The entry of `allowed` that `word` was probably meant to be, or None."""
    import difflib

    whatever_case = {name.lower(): name for name in reversed(allowed)} | {name: name for name in allowed}
    matches = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    matches = matches or difflib.get_close_matches(word.lower(), whatever_case, n=1, cutoff=0.6)
    return whatever_case[matches[0]] if matches else None


def choices(word: str, allowed: Sequence[str]) -> str:
    """A remedy: the nearest match first, then everything that is allowed."""
    guess = nearest(word, allowed)
    listed = "allowed: " + ", ".join(name.replace("\n", "\\n") for name in allowed)
    return f"did you mean {guess}? {listed}" if guess else listed


def _shorten(value: object) -> str:
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= 80 else text[:79] + "…"
