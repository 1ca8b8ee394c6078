"""`metrics.jsonl`, the record of a run: one train line a step, one eval line per (step, split), each once."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

Number = float | int | None
Split = str
"""`validation`, `test`, `probes`, or the name of a file in eval.extra."""
Row = dict[str, float | int | str | None]
Key = tuple[int, str]


class MetricsLog:
    """Appends to `metrics.jsonl`; written by rank 0 alone.

    Opening repairs a line that was torn when the writer was killed and learns what is recorded, so that
    steps redone from an older checkpoint leave the first values as they are: one monotonic curve.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._recorded = self._repair()
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
        """Every recorded line, oldest first."""
        return list(read_rows(self.path))

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

    def _repair(self) -> set[Key]:
        recorded: set[Key] = set()
        good_end = 0
        with self.path.open("rb") as file:
            for line in file:
                row = parse_line(line)
                if row is not None:
                    recorded.add(row_key(row))
                    good_end = file.tell()
        if good_end < self.path.stat().st_size:
            os.ftruncate(self._fd, good_end)
        return recorded


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the complete lines of a `metrics.jsonl`, which may be growing."""
    with path.open("rb") as file:
        for line in file:
            row = parse_line(line)
            if row is not None:
                yield row


def parse_line(line: bytes) -> Row | None:
    """One line as a row; None where it is torn or not one of ours."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def row_key(row: Row) -> Key:
    """What makes a line unique: its step, and `train` or the split it evaluates."""
    return int(row["step"] or 0), str(row.get("split", "train"))


def _numbers(values: Mapping[str, Number]) -> Row:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: Number) -> Number:
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
