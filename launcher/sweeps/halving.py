"""Successive halving: which trials go on after an evaluation, and the file that keeps what was decided.

After the 1st, 3rd, 9th, ... evaluation a trial goes on where it is among the best third of the trials that have come as far
by then, and in any case where it is the best of them (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020:
asynchronous, in the form that stops trials). Each decision is made once, when the trial gets there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import DamagedFile
from launcher.runs.directory import RunDir
from launcher.runs.metrics import row_of
from launcher.runs.records import GrowingFile, make, read_json_lines, tree_of

FACTOR = 3
FILE = "halving.jsonl"


@dataclass(frozen=True)
class Decision:
    """What was decided about one trial after one evaluation."""

    run_id: str
    evaluation: int
    """Counted from 1."""
    step: int
    metric: str
    value: float | None
    place: int
    """Among the trials that had come as far, itself included; 1 is the best."""
    of: int
    goes_on: bool

    def __str__(self) -> str:
        shown = "no number" if self.value is None else f"{self.value:.4f}"
        rule = f"place {self.place} of {self.of} after evaluation {self.evaluation}, of which the best third go on"
        return f"stopped early at step {self.step}: {self.metric} {shown} is {rule}"


class Halving:
    """The decisions about a sweep's trials."""

    def __init__(self, directory: Path, metric: str, *, higher_is_better: bool) -> None:
        self._path = directory / FILE
        self._metric = metric
        self._sign = 1 if higher_is_better else -1
        self._decided = {(each.run_id, each.evaluation): each for each in decisions(directory)}
        self._read: dict[str, Evaluations] = {}

    def look(self, runs: Sequence[RunDir]) -> list[Decision]:
        """Decide about each of the runs that has come to a rung since; returns the decisions that stop one."""
        made = [decision for run in runs for decision in self._decide(run)]
        return [decision for decision in made if not decision.goes_on]

    def _decide(self, run: RunDir) -> Iterator[Decision]:
        reached = self._read.setdefault(run.run_id, Evaluations(run.metrics, f"eval/{self._metric}"))
        reached.read()
        for rung in rungs(len(reached.found)):
            if (run.run_id, rung) not in self._decided:
                step, value = reached.found[rung - 1]
                yield self._record(self._judge(run.run_id, rung, step, value))

    def _judge(self, run_id: str, rung: int, step: int, value: float | None) -> Decision:
        others = [each.value for key, each in self._decided.items() if key[1] == rung]
        place = 1 + sum(self._worth(other) > self._worth(value) for other in others)
        count = 1 + len(others)
        return Decision(
            run_id, rung, step, self._metric, value, place, count, goes_on=place <= max(1, count // FACTOR)
        )

    def _record(self, decision: Decision) -> Decision:
        self._decided[decision.run_id, decision.evaluation] = decision
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(tree_of(decision)) + "\n")
        return decision

    def _worth(self, value: float | None) -> float:
        """What is no number is worse than any."""
        return -math.inf if value is None else self._sign * value


class Evaluations:
    """The evaluations on the validation data that a growing metrics.jsonl holds, in their order; each line is read once."""

    def __init__(self, path: Path, figure: str) -> None:
        self.found: list[tuple[int, float | None]] = []
        """Step and the figure, None where it was no number."""
        self._file = GrowingFile(path)
        self._figure = figure

    def read(self) -> None:
        """Take in what is new."""
        for _, line in self._file.new_lines():
            row = row_of(line) if '"validation"' in line else None
            if row is not None and row.split == "validation" and row.step not in dict(self.found):
                self.found.append((row.step, row.figures.get(self._figure)))


def rungs(evaluations: int) -> Iterator[int]:
    """The evaluations, up to that many, after which is decided: 1, 3, 9, ..."""
    rung = 1
    while rung <= evaluations:
        yield rung
        rung *= FACTOR


def decisions(directory: Path) -> Iterator[Decision]:
    """What was decided in a sweep so far; lines that are none are left out."""
    for tree in read_json_lines(directory / FILE):
        try:
            yield make(Decision, tree, str(directory / FILE))
        except DamagedFile:
            continue


def stopped_early(directory: Path) -> dict[str, Decision]:
    """The trials that were stopped, by their run id."""
    return {each.run_id: each for each in decisions(directory) if not each.goes_on}
