"""What a training tells while it runs: the records in logs/events.jsonl, one a line."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import DamagedFile, Problem
from launcher.runs.files import open_to_append
from launcher.runs.records import Extensible, make, parse_object, read_json_lines, read_tail
from launcher.runs.results import Metrics

TAIL_BYTES = 1 << 18
K = TypeVar("K", bound="Said")
SLOW = 1.3
"""Times the others' own work in a step from which on a rank is called slow."""
CORES = "cores"
"""Stands for a part of a step where a rank loses its time by waiting for cores."""


@dataclass(frozen=True)
class Said(Extensible):
    """What every event has: the time in Unix seconds, CPU seconds of the process, and the attempt."""

    t: float | None = None
    cpu_s: float | None = None
    attempt: int | None = None


@dataclass(frozen=True)
class Phase(Said):
    """What is being done, and how far that is."""

    name: str = ""
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Progress(Phase):
    """The same of a verb."""


@dataclass(frozen=True)
class Step(Said):
    """An optimizer step is done."""

    step: int = 0
    total: int | None = None
    epoch: float | None = None
    loss: float | None = None
    lr: float | None = None
    examples_per_s: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    """Seconds to the end of the run."""


@dataclass(frozen=True)
class Evaluated(Said):
    """A split was evaluated."""

    step: int = 0
    split: str = "validation"
    metrics: Metrics = field(default_factory=dict)
    best: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class Probe(Extensible):
    """What a model fills into a gap."""

    text: str
    answer: str
    probability: float
    rank: int


@dataclass(frozen=True)
class Probed(Said):
    """Gaps were filled."""

    step: int = 0
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True)
class StepTimes(Said):
    """What the ranks spend their steps on: means over the newest steps, the longest left out, in seconds."""

    step: int = 0
    seconds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of each part of a step, by rank; `gradients` is waiting for others."""
    slow: int | None = None
    """The rank that is much slower than the others in its own work, where one is."""
    host: str | None = None
    ratio: float | None = None
    """Its time over the median of the others'."""
    part: str | None = None
    """Where it loses the most: one of `seconds`, or CORES."""

    def told(self) -> dict[str, Any]:
        """What the event is made from."""
        names = ("step", "seconds", "slow", "host", "ratio", "part")
        return {name: getattr(self, name) for name in names}

    @property
    def sentence(self) -> str | None:
        """Which rank is slow; None where none is."""
        if self.slow is None or self.ratio is None:
            return None
        where = f" on {self.host}" if self.host else ""
        lost = "waiting for free cores" if self.part == CORES else f"in {self.part}"
        return f"rank {self.slow}{where} is {self.ratio:.2f} times slower than the others, most of it {lost}"


@dataclass(frozen=True)
class Notice(Said):
    """A sentence for whoever watches."""

    text: str = ""
    level: str = "info"


@dataclass(frozen=True)
class Tracked(Said):
    """The run has a page at W&B."""

    url: str = ""


@dataclass(frozen=True)
class Saved(Said):
    """A checkpoint is on its way to the disk."""

    step: int = 0
    stall_s: float | None = None


@dataclass(frozen=True)
class Spiked(Said):
    """The loss of a step stood out."""

    step: int = 0
    loss: float | None = None
    """None where it was no number."""
    usual: float | None = None
    """The median of the steps before it."""
    examples: tuple[int, ...] = ()
    """Of the tokenised training data: those of the step, or the first of them."""


@dataclass(frozen=True)
class Ended(Said):
    """The attempt is over."""

    status: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class VerbFailed(Said):
    """A verb has ended in error."""

    exit_code: int = 1
    problems: tuple[Problem, ...] = ()
    kind: str = field(default="failed", metadata={"name": "class"})


@dataclass(frozen=True)
class VerbDone(Said):
    """A verb has its result, which is all in `others`."""


Event = (
    VerbFailed
    | VerbDone
    | Phase
    | Step
    | StepTimes
    | Evaluated
    | Probed
    | Notice
    | Tracked
    | Saved
    | Spiked
    | Ended
)
KINDS: dict[str, type[Event]] = {
    "phase": Phase,
    "progress": Progress,
    "step": Step,
    "step_times": StepTimes,
    "eval": Evaluated,
    "probes": Probed,
    "notice": Notice,
    "tracking": Tracked,
    "checkpoint": Saved,
    "spike": Spiked,
    "end": Ended,
    "error": VerbFailed,
    "result": VerbDone,
}
NAMES: dict[type[Any], str] = {kind: name for name, kind in KINDS.items()}


def parse_event(line: str) -> Event | None:
    """One line as an event; None for a line that is torn, of another kind, or not of this shape."""
    try:
        return event_of(parse_object(line, "events"))
    except DamagedFile:
        return None


def event_of(tree: Mapping[str, Any]) -> Event | None:
    """An event from its JSON object, None for one of another kind. Raises DamagedFile where it has another shape."""
    name = tree.get("event")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    return make(kind, {key: value for key, value in tree.items() if key != "event"}, "events")


def read_events(path: Path, kind: type[K], *more: type[K]) -> Iterator[K]:
    """The events of a file that are of these kinds."""
    kinds = (kind, *more)
    for tree in read_json_lines(path, [f'"{NAMES[kind]}"' for kind in kinds]):
        try:
            event = event_of(tree)
        except DamagedFile:
            continue
        if isinstance(event, kinds):
            yield event


def append_notice(path: Path, attempt: int, text: str) -> None:
    """Add a warning to the events of an attempt whose training can't any more; a full disk is ignored."""
    event = {
        "t": round(time.time(), 3),
        "attempt": attempt,
        "event": "notice",
        "level": "warning",
        "text": text,
    }
    with (
        contextlib.suppress(OSError),
        os.fdopen(open_to_append(path), "w", errors="backslashreplace") as file,
    ):
        file.write(json.dumps(event, ensure_ascii=False) + "\n")


class Recent:
    """The end of a file of events, searched from the newest: a line is parsed only where it is of the kind asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _text(self) -> str:
        return read_tail(self._path, TAIL_BYTES)

    def each(self, kind: type[K]) -> Iterator[K]:
        """Events of one kind, the newest first."""
        wanted = f'"event": "{NAMES[kind]}"'
        end = len(self._text)
        while (place := self._text.rfind(wanted, 0, end)) >= 0:
            end, after = self._text.rfind("\n", 0, place) + 1, self._text.find("\n", place)
            event = parse_event(self._text[end : None if after < 0 else after])
            if isinstance(event, kind):
                yield event

    def newest(self, kind: type[K]) -> K | None:
        """The newest event of a kind, None where the end of the file has none."""
        return next(self.each(kind), None)


def last_step(path: Path, attempt: int) -> int | None:
    """The last optimizer step that this attempt reported in a file of events, or None."""
    return next((told.step for told in Recent(path).each(Step) if told.attempt == attempt), None)


def last_events(path: Path) -> list[Event]:
    """The events at the end of a file, the newest last."""
    events = map(parse_event, read_tail(path, TAIL_BYTES).splitlines())
    return [event for event in events if event is not None]
