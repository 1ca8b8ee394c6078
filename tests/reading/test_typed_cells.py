"""Cells of parquet files are plain values: nothing becomes text that isn't written as text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from launcher.errors import UserError
from launcher.reading.check import check_data
from launcher.reading.files import read_rows
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe


def cells(path: Path, values: list[Any], kind: pyarrow.DataType | None = None) -> list[Any]:
    pyarrow.parquet.write_table(pyarrow.table({"cell": pyarrow.array(values, kind)}), path)
    return [row.values["cell"] for row in read_rows(path, ReadOptions())]


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        (b"gut", None, "gut"),
        ("très bon".encode(), pyarrow.large_binary(), "très bon"),
        (b"\xff\xd8\xff", None, {"type": "bytes", "length": 3}),
        (Decimal(3), pyarrow.decimal128(10, 2), 3),
        (Decimal("2.50"), pyarrow.decimal128(10, 2), 2.5),
        (float("nan"), None, None),
        (1.5, None, 1.5),
        (True, None, True),
        (date(2024, 5, 1), None, "2024-05-01"),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), pyarrow.timestamp("s", "UTC"), "2024-05-01 12:00:00.000Z"),
        (datetime(2024, 5, 1, 12), pyarrow.timestamp("ns"), "2024-05-01 12:00:00.000000000"),  # noqa: DTZ001
        (timedelta(seconds=90), None, 90.0),
        ([b"a", float("nan")][:1], None, ["a"]),
        ({"at": date(2024, 5, 1), "share": Decimal("0.5")}, None, {"at": "2024-05-01", "share": 0.5}),
        ("x", pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "x"),
    ],
)
def test_cells_are_plain_values(tmp_path: Path, value: Any, kind: pyarrow.DataType | None, read: Any) -> None:
    assert cells(tmp_path / "a.parquet", [value, None], kind) == [read, None]


def test_bytes_that_are_no_text_are_refused_where_a_text_is_read(tmp_path: Path) -> None:
    table = pyarrow.table({"text": [b"\xff\xd8", b"good"] * 10, "label": [0, 1] * 10})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    data = {"train": str(tmp_path / "a.parquet")}
    with pytest.raises(
        UserError, match=r"a\.parquet:1: data\.text=text: the cell holds bytes that are no UTF-8 text"
    ):
        check_data(Recipe.model_validate({"task": "classification", "data": data}))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    cells(path, ["a long text"] * 5000)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(UserError, match="can't be read as parquet"):
        list(read_rows(path, ReadOptions()))
