"""Where a rank stands, in memory that the watcher of its node reads: a mark costs a step less than a microsecond.

The memory has no name in any file system, so nothing of it is ever left behind; whoever knows the rank's process and the
number of the open file finds it in /proc. It can be read exactly also while the rank is halted or stuck in native code.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Phase = Literal[
    "starting",
    "loading",
    "tokenising",
    "building",
    "compiling",
    "evaluation",
    "save",
    "first step",
    "step",
    "export",
    "ended",
]
"""What a rank is doing; of two that have done as many steps, the one with the earlier of these is behind."""
Part = Literal["", "data", "forward", "backward", "gradients", "optimizer", "results", "others"]
"""What of a step, in order; `gradients` and `results` are those of the other ranks, which are waited for.

In any phase `others` is waiting until all ranks have come as far.
"""
PHASES: tuple[Phase, ...] = get_args(Phase)
PARTS: tuple[Part, ...] = get_args(Part)
TIMED: tuple[Part, ...] = ("data", "forward", "backward", "gradients", "optimizer")
"""Parts of a step whose seconds the ranks tell each other, as PARTS has them from the second on; `gradients` is waiting."""
SHARES = len(TIMED) + 1
"""Figures of a step that a rank tells: seconds of each of TIMED, and the share of time that it waits for a core."""
KEPT_STEPS = 256
"""Steps whose seconds are kept: the newest."""
_HEAD = struct.Struct("<QqBB")
_COUNT = struct.Struct("<Q")
_SECONDS = struct.Struct("<d")
_COUNT_AT = 64
_SECONDS_AT = 72
BYTES = 4096


@dataclass(frozen=True)
class Beat:
    """Where a rank stood when it was looked at."""

    beats: int
    """Grows with every sign of progress."""
    step: int
    """Steps done."""
    phase: Phase
    part: Part


class Beats:
    """The rank's side of the memory."""

    def __init__(self, memory: mmap.mmap | bytearray, descriptor: int | None = None) -> None:
        self.descriptor = descriptor
        """The open file that others find the memory by; None where nobody looks."""
        self._memory = memory
        self._steps = 0

    @classmethod
    def shared(cls) -> Beats:
        """Memory that another process can open as long as this one lives."""
        descriptor = os.memfd_create("launcher-beats")
        os.ftruncate(descriptor, BYTES)
        return cls(mmap.mmap(descriptor, BYTES), descriptor)

    @classmethod
    def private(cls) -> Beats:
        """Memory that nobody else looks at."""
        return cls(bytearray(BYTES))

    def write(self, beats: int, step: int, phase: int, part: int) -> None:
        """Mark where this rank stands; phase and part are places in PHASES and PARTS."""
        _HEAD.pack_into(self._memory, 0, beats, step, phase, part)

    def add_step(self, seconds: float) -> None:
        """Note how long a step took."""
        place = _SECONDS_AT + _SECONDS.size * (self._steps % KEPT_STEPS)
        _SECONDS.pack_into(self._memory, place, seconds)
        self._steps += 1
        _COUNT.pack_into(self._memory, _COUNT_AT, self._steps)


class BeatsOf:
    """Another process's side of the memory, which it can read also after the rank has died."""

    def __init__(self, pid: int, descriptor: int) -> None:
        """Raises OSError or ValueError where there is no such memory."""
        opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._memory = mmap.mmap(opened, BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(opened)

    def beat(self) -> Beat:
        """Where the rank stands."""
        beats, step, phase, part = _HEAD.unpack_from(self._memory, 0)
        return Beat(beats, step, PHASES[min(phase, len(PHASES) - 1)], PARTS[min(part, len(PARTS) - 1)])

    def step_seconds(self) -> Sequence[float]:
        """Seconds of the newest steps, in no order."""
        (count,) = _COUNT.unpack_from(self._memory, _COUNT_AT)
        kept = min(count, KEPT_STEPS)
        return struct.unpack_from(f"<{kept}d", self._memory, _SECONDS_AT)
