"""One submission of a run: a line of control/jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<local>local )?(?P<number>[1-9][0-9]{0,18})"
    r"(?(local)|(?:_(?P<index>[0-9]{1,9})(?:\.(?P<member>[0-9]{1,4}))?)?)",
    re.ASCII,
)


@dataclass(frozen=True)
class Job:
    """A scheduler's job by its number, an element of an array (`12_3`), one of several runs
    that share such an element (`12_3.1`), or a script on this machine by its process id."""

    number: int
    is_local: bool = False
    index: int | None = None
    """Which element of the array of this number."""
    member: int | None = None
    """Which of the runs that share that element."""

    @classmethod
    def parse(cls, line: str) -> Job | None:
        """The job that a line names, or None where it names none."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        index = None if found["index"] is None else int(found["index"])
        member = None if found["member"] is None else int(found["member"])
        return cls(int(found["number"]), found["local"] is not None, index, member)

    def __str__(self) -> str:
        if self.is_local:
            return f"local {self.number}"
        return self.asked if self.member is None else f"{self.asked}.{self.member}"

    @property
    def asked(self) -> str:
        """The id that its scheduler knows: that of the whole, where several runs share it."""
        return str(self.number) if self.index is None else f"{self.number}_{self.index}"
