"""metrics.jsonl: a line for each step of the training and for each evaluation, read as one monotonic record.

A line that holds two objects is read as two, one that comes again is left out, and the order is that of the steps. What
is missing is looked up in events.jsonl; what is not found there is said. Standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from launcher.errors import DamagedFile
from launcher.runs.directory import RunDir
from launcher.runs.events import Evaluated, Step, last_events, read_events
from launcher.runs.records import MOST_LINE_BYTES, is_number, lines_of, open_regular, parse_object

Number = float | None
Tree = dict[str, Any]
Key = tuple[int, str]
MOST_STEPS = 10**12
_START = re.compile(r'\{"step":')
_LINE = b'{"step": '
_HEAD = 100
"""Bytes of a line in which its step, its epoch and its split stand."""


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

    @cached_property
    def rows(self) -> list[MetricsRow]:
        """The lines, typed."""
        return list(self.each_row())

    def each_row(self) -> Iterator[MetricsRow]:
        """The same, one after the other."""
        return map(_row, self.trees)

    @cached_property
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
        starts = [gap.start for gap in gaps]

        def is_missing(step: int, split: str) -> bool:
            place = bisect_right(starts, step)
            return place > 0 and step in gaps[place - 1] if split == "train" else step <= end

        known = set(map(row_key, self.trees))
        found: dict[Key, Tree] = {}
        for tree in trees:
            key = step, split = row_key(tree)
            if is_missing(step, split) and key not in known:
                found.setdefault(key, tree)
        return Recorded(_in_order([*self.trees, *found.values()]), self.is_damaged, self.through)

    def text(self) -> str:
        """The file as it should be."""
        return "".join(json.dumps(tree, allow_nan=False) + "\n" for tree in self.trees)


def read_metrics(run: RunDir) -> Recorded:
    """What is recorded of a run, empty where nothing is; what its file lacks comes from its events."""
    recorded = scan(run.metrics, last_step_told(run))
    if not recorded.lacking and not recorded.is_damaged:
        return recorded
    return recorded.filled(from_events(run.events))


def doubt_of(run: RunDir) -> str | None:
    """`Recorded.doubt` of a run, found without parsing the lines of a file that counts its steps without a gap."""
    return None if _counts_without_gap(run.metrics, last_step_told(run)) else read_metrics(run).doubt


def doubt_of_file(run: RunDir) -> str | None:
    """The same of the file alone, whatever the events know."""
    return scan(run.metrics, last_step_told(run)).doubt


def evaluations_of(run: RunDir) -> list[MetricsRow]:
    """What was evaluated: the lines of steps, which are most of the file, aren't parsed where they count without a gap."""
    if _counts_without_gap(run.metrics, last_step_told(run)):
        found = scan(run.metrics, holding=b'"split": ')
        if not found.is_damaged:
            return found.rows
    return [row for row in read_metrics(run).rows if row.split is not None]


def last_step_told(run: RunDir) -> int:
    """The last step that the events tell of, or the result, or a checkpoint; 0 where none does."""
    steps = [event.step or 0 for event in last_events(run.events) if isinstance(event, Step)]
    with contextlib.suppress(DamagedFile):
        result = run.read_result()
        steps.append(0 if result is None else result.steps or 0)
    saved = [int(path.name.removeprefix("step_")) for path in run.checkpoint_directories()[-1:]]
    return max([*steps, *saved], default=0)


def _counts_without_gap(path: Path, through: int) -> bool:
    """Whether each line looks like one of ours, and those of the training have the steps 1, 2, 3 ... `through`."""
    expected = 1
    with contextlib.suppress(FileNotFoundError), open_regular(path) as file:
        for line in lines_of(file):
            if not line.endswith(b"\n") and len(line) < MOST_LINE_BYTES:  # it is being written
                break
            number = line[len(_LINE) : line.find(b",", len(_LINE))]
            is_one = line.startswith(_LINE) and line.rfind(b"{") == 0 and line.endswith(b"}\n")
            if not is_one or not number.isdigit():
                return False
            if b'"split": ' in line[:_HEAD]:
                continue
            if number != b"%d" % expected:
                return False
            expected += 1
    return expected > through


def scan(path: Path, through: int = 0, holding: bytes = b"") -> Recorded:
    """The lines of a file, which may be growing; none where there is no such file. Raises DamagedFile for a link or FIFO.

    With `holding`, those alone that have these bytes.
    """
    trees: list[Tree] = []
    is_damaged = False
    for found, is_whole in _lines(path, holding):
        trees += found
        is_damaged |= not is_whole
    return Recorded(_in_order(trees), is_damaged, through)


def rows_as_written(path: Path) -> Iterator[MetricsRow | None]:
    """Each line of a file in the order of the file, twice where it is there twice; None for one that is damaged."""
    for found, is_whole in _lines(path):
        yield from map(_row, found)
        if not is_whole:
            yield None


def _lines(path: Path, holding: bytes = b"") -> Iterator[tuple[list[Tree], bool]]:
    """(the rows of a line, whether it is one row and nothing else, or the last one, which is being written)."""
    with contextlib.suppress(FileNotFoundError), open_regular(path) as file:
        for line in lines_of(file):
            if holding in line:
                found, is_whole = _objects(line.decode("utf-8", "replace"))
                is_growing = not line.endswith(b"\n") and len(line) != MOST_LINE_BYTES
                yield found, is_whole or is_growing


def row_key(tree: Mapping[str, Any]) -> Key:
    """What makes a line unique: its step, and `train` or the split it evaluates."""
    return tree["step"], tree.get("split") or "train"


def from_events(path: Path) -> Iterator[Tree]:
    """What events.jsonl knows of lines: less than these held, but each step and evaluation."""
    for event in read_events(path, Step, Evaluated):
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
    values = tree.values()
    if not is_row or math.inf in values or -math.inf in values:
        return None
    return dict(
        zip(map(sys.intern, tree), values, strict=True)
    )  # of a million lines the names alone take a gigabyte


def row_of(line: str) -> MetricsRow | None:
    """One line as it was written, typed; None where it is none."""
    tree = _parsed(line)
    return None if tree is None else _row(tree)


def _in_order(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    """Each line once, the first of equal ones, by step."""
    first: dict[Key, Tree] = {}
    for tree in trees:
        first.setdefault(row_key(tree), tree)
    return tuple(sorted(first.values(), key=lambda tree: int(tree["step"])))


def _row(tree: Tree) -> MetricsRow:
    """One line, whose numbers `_parsed` found to be finite."""
    epoch = tree.get("epoch")
    figures = {
        key: value
        for key, value in tree.items()
        if (type(value) is float or value is None or is_number(value)) and "/" in key
    }
    return MetricsRow(tree["step"], tree.get("split"), epoch if is_number(epoch) else None, figures)
