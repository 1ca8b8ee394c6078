"""samples/rank_R.jsonl: the examples that a rank has computed in each step, where debug.samples asks for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TextIO

from launcher.runs.directory import RunDir


class SampleLog:
    """Writes one line a step, or nothing where there is no file."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    @classmethod
    def open(cls, run: RunDir, rank: int, start: int) -> SampleLog:
        """This rank's file, without the lines of steps after `start`, which are going to be done again.

        An attempt on fewer ranks may have left out steps in between.
        """
        run.samples.mkdir(exist_ok=True)
        file = run.rank_samples(rank).open("a+", encoding="utf-8")
        file.seek(0)
        done = takewhile(lambda line: _step(line) <= start, file)
        file.truncate(sum(map(len, done)))
        return cls(file)

    def write(self, step: int, examples: Sequence[int]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"step": step, "examples": list(examples)}) + "\n")
            self._file.flush()


def _step(line: str) -> float:
    """The step of a line; infinity where the line was torn."""
    found = re.fullmatch(r'\{"step": (\d+), .*\}\n', line)
    return int(found[1]) if found else math.inf
