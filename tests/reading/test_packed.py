"""Compressed files are read as what they hold, told by their content; what can't be unpacked is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from launcher.errors import UserError
from launcher.reading import packed
from launcher.reading.files import content_hash, count_rows, peek, read_rows
from launcher.reading.options import ReadOptions

PLAIN = ReadOptions()
TABLE = b"text,label\ngood,1\nbad,0\n"
OBJECTS = b'{"text": "good", "label": "1"}\n{"text": "bad", "label": "0"}\n'
ROWS = [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]


def zstd(content: bytes) -> bytes:
    written = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(written, "zstd") as stream:
        stream.write(content)
    return bytes(written.getvalue())


def zipped(**files: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return written.getvalue()


def read(path: Path) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path, PLAIN)]


def mistake(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    return str(caught.value)


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", zstd),
    (".zip", lambda content: zipped(inner=content)),
]


@pytest.mark.parametrize(("suffix", "pack"), PACKERS)
@pytest.mark.parametrize(("name", "content"), [("t.csv", TABLE), ("t.jsonl", OBJECTS)])
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_packed_files_are_read_by_their_first_bytes(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], name: str, content: bytes, named: bool
) -> None:
    path = tmp_path / (name + suffix if named else name)
    path.write_bytes(pack(content))
    assert read(path) == ROWS
    assert count_rows(path, PLAIN) == 2
    assert peek(path, PLAIN, rows=1).count == 2


def test_a_zip_file_without_a_format_in_its_name_has_that_of_the_file_within(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(zipped(train__csv=TABLE, **{"__MACOSX/._train__csv": b"resources"}))
    assert read(path) == ROWS


def test_a_packed_parquet_file_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    (tmp_path / "t.parquet.gz").write_bytes(gzip.compress((tmp_path / "t.parquet").read_bytes()))
    assert read(tmp_path / "t.parquet.gz") == ROWS


def test_the_hash_is_of_the_file_as_it_lies_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TABLE)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TABLE))
    assert content_hash(tmp_path / "a.csv") != content_hash(tmp_path / "a.csv.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(TABLE)[:-12], "can't be unpacked"),
        (gzip.compress(TABLE)[:15] + b"\0\0\0\0\0\0" + gzip.compress(TABLE)[21:], "can't be unpacked"),
        (lzma.compress(TABLE)[:40], "can't be unpacked"),
        (zstd(TABLE)[:12] + b"\xff" * 20, "can't be unpacked"),
        (zipped(a__csv=TABLE, b__csv=TABLE), "is a zip file of 2 files (a.csv, b.csv)"),
        (zipped(), "is a zip file without files"),
        (gzip.compress(gzip.compress(TABLE)), "holds another compressed file"),
        (zipped(inner=gzip.compress(TABLE)), "holds another compressed file"),
        (zipped(**{"xl/workbook__xml": b"<x/>", "mimetype": b""}), "is a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "is a workbook of Excel (.xls)"),
        (b"x" * 257 + b"ustar\0", "is a tar archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"PAR1" + b"\0" * 20, "data.format=parquet"),
        (b"\x80\x04\x95" + b"\0" * 20, "is a pickle"),
    ],
    ids=[
        "cut",
        "damaged",
        "xz",
        "zstd",
        "two",
        "none",
        "twice",
        "inner",
        "xlsx",
        "xls",
        "tar",
        "lfs",
        "parquet",
        "pickle",
    ],
)
def test_what_cannot_be_unpacked_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert message in mistake(tmp_path / "t.csv")


@pytest.mark.parametrize(("suffix", "pack"), PACKERS)
def test_a_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "BOMB_BYTES", 1 << 20)
    path = tmp_path / f"t.csv{suffix}"
    path.write_bytes(pack(b"\0" * (8 << 20)))
    assert "unpacks to more than 200 times its size" in mistake(path)
