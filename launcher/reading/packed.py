"""Compressed files: gzip, bzip2, xz, zstd and zip files that hold one file, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path, PurePath
from typing import IO, Any

from launcher.errors import UserError
from launcher.reading.messages import as_word, mistake

BLOCK = 1 << 16
"""Bytes read at a time; what a file is, is told from the first of these."""
BOMB_BYTES, BOMB_RATIO = 256 << 20, 200
"""What unpacks to more than so many bytes and so many times its own size is taken for a trap, not for text."""
TYPICAL_RATIO = 5
"""How much larger text usually is than its compressed form; used where the true size isn't known."""
DAMAGES = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)


def unpacked(path: Path, file: BufferedReader) -> BufferedReader:
    """What a file holds, decompressed where it is compressed. UserError where that can't be done."""
    start = file.peek(BLOCK)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
    if opener is None:
        return file
    try:
        stream = opener(path, file)
    except DAMAGES as error:
        file.close()
        raise _damaged(path, error) from None
    except UserError:
        file.close()
        raise
    content: BufferedReader = BufferedReader(_Unpacking(path, file, stream), BLOCK)
    try:
        if is_packed(content.peek(BLOCK)):
            raise mistake(path, None, "holds another compressed file", "unpack it, and give the file within")
    except UserError:
        content.close()
        raise
    return content


def is_packed(start: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed."""
    return start.startswith(tuple(OPENERS))


def inner_name(path: Path, file: BufferedReader) -> str | None:
    """The name of the one file that a zip file holds; None for every other file."""
    if not file.peek(BLOCK).startswith((ZIP, EMPTY_ZIP)):
        return None
    try:
        return _only_member(path, zipfile.ZipFile(file)).filename
    except DAMAGES as error:
        raise _damaged(path, error) from None


def _gzip(_: Path, file: BufferedReader) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)


def _bzip2(_: Path, file: BufferedReader) -> IO[bytes]:
    return bz2.BZ2File(file)


def _xz(_: Path, file: BufferedReader) -> IO[bytes]:
    return lzma.LZMAFile(file)


def _zstd(_: Path, file: BufferedReader) -> Any:
    from pyarrow import CompressedInputStream

    return CompressedInputStream(file, "zstd")


def _zip(path: Path, file: BufferedReader) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    member = _only_member(path, archive)
    if member.flag_bits & 1:
        raise mistake(path, None, "is a zip file with a password", "unpack it")
    return archive.open(member)


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = archive.namelist()
    if "xl/workbook.xml" in names or "content.xml" in names:
        remedy = 'save the sheet as "CSV UTF-8", and give that file'
        raise mistake(path, None, "is a workbook of Excel or LibreOffice, not text", remedy)
    members = [item for item in archive.infolist() if not item.is_dir() and not _is_hidden(item.filename)]
    if not members:
        raise mistake(path, None, "is a zip file without files", "give a file that holds rows")
    if len(members) != 1:
        listed = ", ".join(item.filename for item in members[:5]) + (", ..." if len(members) > 5 else "")
        text = f"is a zip file of {len(members)} files ({listed})"
        raise mistake(
            path, None, text, f"unpack it: unzip {as_word(path)}; then give the files, or launch init FOLDER"
        )
    return members[0]


def _is_hidden(name: str) -> bool:
    return PurePath(name).name.startswith(".") or name.startswith("__MACOSX/")


ZIP, EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
OPENERS: dict[bytes, Callable[[Path, BufferedReader], Any]] = {
    b"\x1f\x8b": _gzip,
    **{b"BZh%d1AY&SY" % level: _bzip2 for level in range(1, 10)},
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
    ZIP: _zip,
    EMPTY_ZIP: _zip,
}


class _Unpacking(io.RawIOBase):
    """Decompressed bytes, as many as are plausible."""

    def __init__(self, path: Path, file: BufferedReader, stream: Any) -> None:
        self._path, self._file, self._stream = path, file, stream
        self._packed_bytes = path.stat().st_size
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self._stream.read(len(buffer))
        except DAMAGES as error:
            raise _damaged(self._path, error) from None
        buffer[: len(chunk)] = chunk
        self._bytes += len(chunk)
        if self._bytes > max(BOMB_BYTES, BOMB_RATIO * self._packed_bytes):
            text = f"unpacks to more than {BOMB_RATIO} times its size"
            raise mistake(self._path, None, text, "unpack it yourself if that is meant")
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()


def _damaged(path: Path, error: BaseException) -> Exception:
    text = f"can't be unpacked: {str(error) or type(error).__name__}"
    return mistake(path, None, text, "is it whole? Copy it again, or unpack it")
