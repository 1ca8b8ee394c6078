"""Rows of a table in a file of csv or jsonl, and vectors in one of npy."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from launcher.errors import Problem, UserError


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as csv (lists and objects as JSON in their cell) or jsonl, whole or not at all."""
    rows = list(rows)
    with _staged(path) as staging, staging.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(_json(row) + "\n" for row in rows)
        else:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def write_array(path: Path, vectors: Sequence[Any]) -> None:
    """Write vectors of the same shape as a float32 array, the first axis for the rows, whole or not at all."""
    with _staged(path) as staging, staging.open("wb") as file:
        np.save(file, np.array(vectors, np.float32))


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A place beside `path` that takes its place in the end. Raises UserError where the disk doesn't take it."""
    staging = path.with_name(f".{path.name}.new")
    try:
        yield staging
        staging.replace(path)
    except BaseException as error:
        staging.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(Problem(f"can't be written: {error.strerror}", where=str(path))) from None


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, dict | list) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # parquet holds dates
