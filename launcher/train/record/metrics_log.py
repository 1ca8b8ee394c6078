"""`metrics.jsonl`, the record of a run: one train line a step, one eval line per (step, split), each once."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from launcher.runs.files import write_text
from launcher.runs.metrics import Key, Recorded, row_key, scan

Number = float | int | None
Split = str
"""`validation`, `test`, `probes`, or the name of a file in eval.extra."""
Row = dict[str, float | int | str | None]


class MetricsLog:
    """Appends to `metrics.jsonl`; written by rank 0 alone.

    Opening repairs a line that was torn when the writer was killed and learns what is recorded, so that
    steps redone from an older checkpoint leave the first values as they are: one monotonic curve.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._recorded = self._recorded_whole()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.opened_at = os.lseek(self._fd, 0, os.SEEK_END)
        """Length of the file in bytes when it was opened; what follows is this attempt's."""

    def train(self, step: int, values: Mapping[str, Number]) -> bool:
        """Record the train line of `step`; False where an earlier attempt already has."""
        return self._append((step, "train"), {"step": step, **_numbers(values)})

    def eval(self, step: int, split: Split, values: Mapping[str, Number]) -> bool:
        """Record the eval line of (`step`, `split`); False where an earlier attempt already has."""
        numbers = _numbers(values)
        epoch = {"epoch": numbers.pop("epoch")} if "epoch" in numbers else {}
        return self._append((step, split), {"step": step, **epoch, "split": split, **numbers})

    def rows(self) -> list[Row]:
        """Every recorded line, by step."""
        return list(scan(self.path).trees)

    def sync(self) -> None:
        """Put the lines on disk: before a checkpoint, whose steps will not be redone."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, key: Key, row: Row) -> bool:
        if key in self._recorded:
            return False
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            os.ftruncate(self._fd, before)
            raise
        self._recorded.add(key)
        return True

    def _recorded_whole(self) -> set[Key]:
        """Drop what is no line; returns what is recorded."""
        found = scan(self.path)
        write_back(self.path, found)
        return set(map(row_key, found.trees))


def write_back(path: Path, recorded: Recorded) -> bool:
    """Make the file say what is recorded; whether it said something else."""
    text = recorded.text()
    if (path.read_bytes() if path.exists() else b"") == text.encode():
        return False
    write_text(path, text)
    return True


def _numbers(values: Mapping[str, Number]) -> Row:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: Number) -> Number:
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
