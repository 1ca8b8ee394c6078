"""Rows of a table in a file of csv or jsonl, and vectors in one of npy."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from launcher.errors import UserError
from launcher.runs.files import part_of


def write_rows(path: Path, parts: Iterable[Sequence[dict[str, Any]]], columns: Iterable[str] = ()) -> int:
    """Write rows as csv (lists and objects as JSON in their cell) or jsonl, each part of them as it comes; how many they are.

    `columns` are those that rows of a later part have. What is not whole has another name: `part_of(path)`.
    """
    is_table, count = path.suffix != ".jsonl", 0
    with _staged(path) as staged, staged.path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for rows in parts:
            if not is_table:
                file.writelines(_json(row) + "\n" for row in rows)
            else:
                if writer is None:
                    writer = csv.DictWriter(
                        file, list(dict.fromkeys([*(key for row in rows for key in row), *columns]))
                    )
                    writer.writeheader()
                writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
            count += len(rows)
            staged.keep(file)
    return count


def write_array(path: Path, parts: Iterable[Sequence[Any]], count: int) -> int:
    """Write `count` vectors of the same shape as a float32 array, the first axis for the rows, each part as it comes.

    How many they are. What is not whole has another name: `part_of(path)`.
    """
    written = 0
    with _staged(path) as staged, staged.path.open("wb") as file:
        for part in parts:
            block = np.array(part, np.float32)
            if not written:
                form = {"descr": "<f4", "fortran_order": False, "shape": (count, *block.shape[1:])}
                np.lib.format.write_array_header_1_0(file, form)
            file.write(block.tobytes())
            written += len(part)
            staged.keep(file)
    return written


@dataclass
class _Staged:
    """A file that takes the place of another in the end."""

    path: Path
    kept: int = 0
    """Bytes that hold whole parts."""

    def keep(self, file: IO[Any]) -> None:
        """Whatever happens from now on, what was written so far stays."""
        file.flush()
        self.kept = self.path.stat().st_size


@contextmanager
def _staged(path: Path) -> Iterator[_Staged]:
    """What takes the place of `path` in the end, or is left with its whole parts. UserError where the disk doesn't take it."""
    staged = _Staged(part_of(path))
    try:
        yield staged
        staged.path.replace(path)
    except BaseException as error:
        if staged.kept:
            os.truncate(staged.path, staged.kept)
        else:
            staged.path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(f"can't be written: {error.strerror}", where=str(path)) from None


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, dict | list) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # parquet holds dates
