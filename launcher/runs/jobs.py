"""One submission of a run: a line of control/jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<local>local )?(?P<number>[1-9][0-9]{0,18})(?(local)|(?:_(?P<index>[0-9]{1,9}))?)", re.ASCII
)


@dataclass(frozen=True)
class Job:
    """A scheduler's job by its number, an element of an array (`12_3`), or a script on this machine by its process id."""

    number: int
    is_local: bool = False
    index: int | None = None
    """Which element of the array of this number."""

    @classmethod
    def parse(cls, line: str) -> Job | None:
        """The job that a line names, or None where it names none."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        index = None if found["index"] is None else int(found["index"])
        return cls(int(found["number"]), found["local"] is not None, index)

    def __str__(self) -> str:
        if self.is_local:
            return f"local {self.number}"
        return str(self.number) if self.index is None else f"{self.number}_{self.index}"
