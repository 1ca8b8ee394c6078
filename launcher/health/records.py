"""What the watchers of a run write into attempts/N/health/: who is where, and where each rank stands.

health/rank_R.json    a rank by its process, written once
health/node_K.json    the ranks of a node, written again every few seconds while they live
health/pace.json      what rank 0 has measured of steps, evaluations and saves

A node's file is written in its place, not renamed over the old one: on NFS that is what another machine sees at once.
Nothing here is fsynced: it is worth nothing after a power cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import DamagedFile
from launcher.health.beats import Part, Phase
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import Member
from launcher.runs.records import Extensible, make, parse_object, read_text, readable, tree_of

MOST_BYTES = 1 << 18
PADDED_TO = 4096
PACE = "pace.json"
FRESH_S = 30.0
"""A watcher writes every few seconds; one whose file is older than this is gone."""
_NODE = re.compile(r"node_[0-9]{1,6}\.json", re.ASCII)


@dataclass(frozen=True)
class RankHealth(Extensible):
    """Where a rank stands."""

    rank: int
    phase: Phase
    part: Part
    step: int
    """Steps done."""
    silent_s: float
    """Seconds since its last sign of progress."""
    bound_s: float | None = None
    """How long that may be; None where nobody ends a hang."""
    state: str | None = None
    """Of its process, as /proc has it: `T` is halted; None where it is gone."""


@dataclass(frozen=True)
class NodeHealth(Extensible):
    """The ranks of a node as its watcher sees them."""

    node: int
    host: str
    at: float
    """Unix seconds of the node's clock."""
    ranks: tuple[RankHealth, ...]
    longest: Mapping[str, float] = field(default_factory=dict)
    """The longest that each phase went without progress before it went on, in seconds."""
    up_s: float | None = None
    """Seconds since the node was started, which no jump of its clock changes."""


@dataclass(frozen=True)
class Pace(Extensible):
    """How long a training needs for what comes before it can stop, in seconds: the longest of late."""

    step_s: float
    evaluation_s: float
    """0 before the first."""
    save_s: float
    """From the beginning of a save until it is on disk."""


def write_pace(attempt: AttemptDir, pace: Pace) -> None:
    """Let the watcher know. Raises OSError."""
    attempt.health.mkdir(mode=0o700, exist_ok=True)
    _replace(attempt.health / PACE, pace)


def read_pace(attempt: AttemptDir) -> Pace | None:
    """What was measured; None before the first save, or where that can't be read."""
    with contextlib.suppress(DamagedFile):
        text = read_text(attempt.health / PACE, MOST_BYTES)
        return None if text is None else make(Pace, parse_object(text, PACE), PACE)
    return None


def is_watched(attempt: AttemptDir, node: int) -> bool:
    """Whether the watcher of a node has written of late."""
    return any(each.node == node and abs(time.time() - each.at) < FRESH_S for each in read_nodes(attempt))


def write_member(attempt: AttemptDir, member: Member) -> None:
    """Let the watchers know of a rank."""
    attempt.health.mkdir(mode=0o700, exist_ok=True)
    _replace(attempt.health / f"rank_{member.rank}.json", member)


def _replace(path: Path, record: Member | Pace) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(tree_of(record), file)
    Path(temporary).replace(path)


def write_node(attempt: AttemptDir, health: NodeHealth) -> None:
    """Write a node's file over what it held. Raises OSError."""
    attempt.health.mkdir(mode=0o700, exist_ok=True)
    content = json.dumps(tree_of(health)).encode()
    padded = content + b"\n".rjust(-len(content) % PADDED_TO or PADDED_TO)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(attempt.health / f"node_{health.node}.json", flags, 0o600)
    try:
        os.pwrite(descriptor, padded, 0)
        os.ftruncate(descriptor, len(padded))
    finally:
        os.close(descriptor)  # on NFS this is when others see it


def read_nodes(attempt: AttemptDir) -> list[NodeHealth]:
    """What the nodes wrote last; a file that is just being written is left out."""
    return list(readable(attempt.health, _NODE, NodeHealth, MOST_BYTES))
