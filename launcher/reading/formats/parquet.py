"""Parquet files, read batch by batch through pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from launcher.reading import packed
from launcher.reading.binary_kinds import refuse_binary
from launcher.reading.cells import plain
from launcher.reading.class_names import named, names_at, names_given
from launcher.reading.messages import mistake
from launcher.reading.opening import open_as_it_is, open_file
from launcher.reading.options import ReadOptions
from launcher.recipe.data_formats import FORMATS
from launcher.tasks.shared.rows import Row, Value

BATCH_ROWS = 1024


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each row, its cells as plain values."""
    import pyarrow

    position = 0
    try:
        file = _opened(path)
        names = file.schema_arrow.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise mistake(path, None, f"has {', '.join(twice)} more than once", "rename one of them")
        features = names_given(file.schema_arrow.metadata or {})
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            columns = [
                _cells(column, features.get(name))
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            for values in zip(*columns, strict=True):
                position += 1
                yield Row(dict(zip(batch.schema.names, values, strict=True)), position)
    except (pyarrow.ArrowException, OSError) as error:
        raise mistake(
            path, None, f"can't be read as parquet: {error}", "is it whole? Write it again"
        ) from None


def count(path: Path, _: ReadOptions) -> int | None:
    """Rows, which the file itself states."""
    return int(_opened(path).metadata.num_rows)


def class_names(path: Path, column: str) -> tuple[str, ...] | None:
    """The classes that the file declares for a column, in their order."""
    return names_at(names_given(_opened(path).schema_arrow.metadata or {}), column)


def unlabelled(path: Path, column: str) -> int:
    """Rows that have none of the classes that the file declares for a column of one class each; -1 says so, or nothing."""
    names = class_names(path, column)
    if names is None:
        return 0
    file = _opened(path)
    owner, *steps = [column] if column in file.schema_arrow.names else column.split(".")
    if owner not in file.schema_arrow.names:  # a column that was left out since is declared all the same
        return 0
    batches = file.iter_batches(batch_size=BATCH_ROWS, columns=[owner])
    return sum(_without_class(batch.column(0), steps, len(names)) for batch in batches)


def _without_class(cells: Any, steps: list[str], classes: int) -> int:
    """Of one batch; of lists, which hold several classes, none."""
    import pyarrow.compute as compute
    from pyarrow import types

    for step in steps:
        if not types.is_struct(cells.type) or cells.type.get_field_index(step) < 0:
            return 0
        cells = compute.struct_field(cells, step)
    if not types.is_integer(cells.type):
        return 0
    named = compute.and_(compute.greater_equal(cells, 0), compute.less(cells, classes))
    return len(cells) - (compute.sum(named).as_py() or 0)


def _cells(column: Any, feature: Any) -> list[Value]:
    """The values of one column, classes by the names that `feature` has.

    Moments of time become text in Arrow's form, which is ISO 8601's with a blank.
    """
    from pyarrow import string, types

    spans = types.is_duration(column.type) or "interval" in str(column.type)
    if types.is_temporal(column.type) and not spans:
        column = column.cast(string())
    values = [plain(value) for value in column.to_pylist()]
    return values if feature is None else [named(value, feature) for value in values]


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise mistake(path, None, "parquet files need pyarrow", "pip install pyarrow") from None
    with open_as_it_is(path) as file:
        start = file.peek(packed.BLOCK)
    try:
        if packed.is_packed(start):
            with open_file(path) as file:
                return pyarrow.parquet.ParquetFile(BytesIO(file.read()))
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError):
        if start.startswith(b"PAR1"):
            raise mistake(path, None, "is a parquet file that isn't whole", "copy it again") from None
        refuse_binary(path, start)
        remedy = "give data.format, one of: " + ", ".join(FORMATS)
        raise mistake(path, None, "is not a parquet file", remedy) from None
