"""samples/rank_R.jsonl: the examples that a rank has computed in each step, where debug.samples asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

from launcher.runs.directory import RunDir


class SampleLog:
    """Writes one line a step, or nothing where there is no file."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    @classmethod
    def open(cls, run: RunDir, rank: int, start: int) -> SampleLog:
        """This rank's file, without the lines of steps after `start`, which are going to be done again."""
        run.samples.mkdir(exist_ok=True)
        file = run.rank_samples(rank).open("a+", encoding="utf-8")
        file.seek(0)
        done = [file.readline() for _ in range(start)]
        file.truncate(len("".join(done)))
        return cls(file)

    def write(self, step: int, examples: Sequence[int]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"step": step, "examples": list(examples)}) + "\n")
            self._file.flush()
