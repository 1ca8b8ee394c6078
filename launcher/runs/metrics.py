"""metrics.jsonl: a line for each step of the training and for each evaluation, read as one monotonic record.

A line that holds two objects is read as two, one that comes again is left out, and the order is that of the steps. What
is missing is looked up in events.jsonl; what is not found there is said. Standard library alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import DamagedFile
from launcher.runs.directory import RunDir
from launcher.runs.events import Evaluated, Step, last_events, read_events
from launcher.runs.records import LARGEST, lines_of, open_regular, parse_object

Number = float | None
Tree = dict[str, Any]
Key = tuple[int, str]
MOST_STEPS = 10**12
_START = re.compile(r'\{"step":')


@dataclass(frozen=True)
class MetricsRow:
    """One line."""

    step: int
    split: str | None
    """What was evaluated; None for a step of the training."""
    epoch: Number
    figures: Mapping[str, Number]
    """By full name, such as `train/loss` or `eval/accuracy`; None where it was no number."""

    def metrics(self) -> dict[str, Number]:
        """What an evaluation found, without `eval/` before the names."""
        return {
            key.removeprefix("eval/"): value for key, value in self.figures.items() if key.startswith("eval/")
        }


@dataclass(frozen=True)
class Recorded:
    """What a file holds: its lines as JSON objects, each once, in the order of the steps."""

    trees: tuple[Tree, ...]
    is_damaged: bool = False
    """Whether there was something that is no line of ours."""
    through: int = 0
    """The last step that is known to be done, whether it is recorded or not."""

    @property
    def rows(self) -> list[MetricsRow]:
        """The lines, typed."""
        return list(map(_row, self.trees))

    @property
    def lacking(self) -> list[range]:
        """Steps of the training that have no line."""
        steps = [tree["step"] for tree in self.trees if row_key(tree)[1] == "train"]
        gaps, expected = [], 1
        for step in steps:
            if step > expected:
                gaps.append(range(expected, step))
            expected = step + 1
        return [*gaps, range(expected, self.through + 1)] if expected <= self.through else gaps

    @property
    def doubt(self) -> str | None:
        """One sentence on what is missing, or None."""
        if not self.lacking:
            return None
        parts = [f"{gap[0]}-{gap[-1]}" if len(gap) > 1 else str(gap[0]) for gap in self.lacking]
        more = f" and {len(parts) - 5} more gaps" if len(parts) > 5 else ""
        is_one = len(parts) == 1 and len(self.lacking[0]) == 1
        return f"metrics.jsonl lacks {'step' if is_one else 'steps'} {', '.join(parts[:5])}{more}"

    def filled(self, trees: Iterable[Tree]) -> Recorded:
        """This, and those of `trees` that it lacks: steps of the training in its gaps, and evaluations up to its end."""
        gaps, end = self.lacking, max([self.through, *(tree["step"] for tree in self.trees)])
        known = set(map(row_key, self.trees))
        found: dict[Key, Tree] = {}
        for tree in trees:
            key = step, split = row_key(tree)
            is_missing = any(step in gap for gap in gaps) if split == "train" else step <= end
            if is_missing and key not in known:
                found.setdefault(key, tree)
        return Recorded(_in_order([*self.trees, *found.values()]), self.is_damaged, self.through)

    def text(self) -> str:
        """The file as it should be."""
        return "".join(json.dumps(tree, allow_nan=False) + "\n" for tree in self.trees)


def read_metrics(run: RunDir) -> Recorded:
    """What is recorded of a run, empty where nothing is; what its file lacks comes from its events."""
    last = [event.step for event in last_events(run.events) if isinstance(event, Step)]
    recorded = scan(run.metrics, max(last, default=0))
    if not recorded.lacking and not recorded.is_damaged:
        return recorded
    return recorded.filled(from_events(run.events))


def scan(path: Path, through: int = 0) -> Recorded:
    """The lines of a file, which may be growing; none where there is no such file. Raises DamagedFile for a link or FIFO."""
    trees: list[Tree] = []
    is_damaged = False
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return Recorded((), through=through)
    with file:
        for line in lines_of(file):
            found, is_whole = _objects(line.decode("utf-8", "replace"))
            trees += found
            is_damaged |= not is_whole and line.endswith(b"\n")
    return Recorded(_in_order(trees), is_damaged, through)


def row_key(tree: Mapping[str, Any]) -> Key:
    """What makes a line unique: its step, and `train` or the split it evaluates."""
    return tree["step"], tree.get("split") or "train"


def from_events(path: Path) -> Iterator[Tree]:
    """What events.jsonl knows of lines: less than these held, but each step and evaluation."""
    for event in read_events(path):
        if isinstance(event, Step):
            yield {
                "step": event.step,
                "epoch": event.epoch,
                "train/loss": event.loss,
                "train/lr": event.lr,
                "perf/examples_per_s": event.examples_per_s,
                "perf/tokens_per_s": event.tokens_per_s,
            }
        elif isinstance(event, Evaluated):
            metrics = {f"eval/{name}": value for name, value in event.metrics.items()}
            yield {"step": event.step, "split": event.split, **metrics}


def _objects(line: str) -> tuple[list[Tree], bool]:
    """The rows of one line, and whether it was one row and nothing else."""
    whole = _parsed(line)
    if whole is not None:
        return [whole], True
    starts = [found.start() for found in _START.finditer(line)]
    parts = [line[start:end] for start, end in zip(starts, [*starts[1:], len(line)], strict=False)]
    rows = (_parsed(part[: part.rfind("}") + 1]) for part in parts)
    return [row for row in rows if row is not None], False


def _parsed(text: str) -> Tree | None:
    try:
        tree = parse_object(text, "metrics.jsonl")
    except DamagedFile:
        return None
    step, split = tree.get("step"), tree.get("split")
    is_row = type(step) is int and 0 <= step < MOST_STEPS and isinstance(split, str | None)
    is_infinite = any(isinstance(value, float) and not math.isfinite(value) for value in tree.values())
    return tree if is_row and not is_infinite else None


def _in_order(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    """Each line once, the first of equal ones, by step."""
    first: dict[Key, Tree] = {}
    for tree in trees:
        first.setdefault(row_key(tree), tree)
    return tuple(sorted(first.values(), key=lambda tree: int(tree["step"])))


def _row(tree: Tree) -> MetricsRow:
    figures = {key: value for key, value in tree.items() if value is None or _is_number(value)}
    named = {key: value for key, value in figures.items() if "/" in key}
    return MetricsRow(tree["step"], tree.get("split"), figures.get("epoch"), named)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
