"""One submission of a run: a line of control/jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"(?P<local>local )?(?P<number>[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True)
class Job:
    """A scheduler's job by its number, or a script on this machine by its process id."""

    number: int
    is_local: bool = False

    @classmethod
    def parse(cls, line: str) -> Job | None:
        """The job that a line names, or None where it names none."""
        found = _LINE.fullmatch(line)
        return None if found is None else cls(int(found["number"]), found["local"] is not None)

    def __str__(self) -> str:
        return f"local {self.number}" if self.is_local else str(self.number)
