"""Files that hold no data as text, told by their first bytes, with what makes rows of them."""

from __future__ import annotations

from pathlib import Path

from launcher.reading.messages import as_word, mistake

AS_CSV = 'save the sheet as "CSV UTF-8", and give that file'
AS_PARQUET = "write it as parquet, csv or jsonl, for example with pandas"
AS_SAVED = "saved by datasets: data.source=FOLDER reads the whole; load_from_disk(FOLDER).to_parquet(FILE) writes a file"
UNPACK = "unpack it; gz, bz2, xz, zst and single-file zip files are read as they are"
KINDS: dict[bytes, tuple[str, str]] = {
    b"PAR1": ("is a parquet file", "data.format=parquet"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("is a workbook of Excel (.xls) or another Office file", AS_CSV),
    b"ARROW1\0\0": ("is an Arrow (Feather) file", AS_PARQUET),
    b"\xff\xff\xff\xff": ("is an Arrow file", AS_SAVED),
    b"SQLite format 3\0": ("is a SQLite database", AS_PARQUET),
    b"\x89HDF\r\n": ("is a HDF5 file", AS_PARQUET),
    b"\x93NUMPY": ("is a NumPy file", AS_PARQUET),
    b"\x80\x03": ("is a pickle, which is never opened", AS_PARQUET),
    b"\x80\x04\x95": ("is a pickle, which is never opened", AS_PARQUET),
    b"\x80\x05\x95": ("is a pickle, which is never opened", AS_PARQUET),
    b"%PDF-": ("is a PDF document", "extract its text first"),
    b"\x04\x22\x4d\x18": ("is compressed with lz4", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", UNPACK),
    b"Rar!\x1a\x07": ("is a rar archive", UNPACK),
    b"\x1f\x9d": ("is compressed with compress (.Z)", UNPACK),
    b"version https://git-lfs.github.com/": ("is a pointer of Git LFS, not the data", "git lfs pull"),
}
TAR_MAGIC_AT = 257
WEB_PAGE = (b"<!doctype html", b"<html")
BLANK = b"\xef\xbb\xbf \t\r\n"


def refuse_binary(path: Path, start: bytes) -> None:
    """Raise UserError where these first bytes are those of a file that isn't text, or of a web page where none is expected."""
    if start[TAR_MAGIC_AT:].startswith(b"ustar"):
        raise mistake(
            path,
            None,
            "is a tar archive",
            f"unpack it: tar xf {as_word(path)}; then give the files, or launch init FOLDER",
        )
    if path.suffix != ".txt" and start.lstrip(BLANK).lower().startswith(WEB_PAGE):
        remedy = "download the file itself: what was saved is a page that shows it or asks to log in"
        raise mistake(path, None, "is a web page (HTML)", remedy)
    for magic, (text, remedy) in KINDS.items():
        if start.startswith(magic):
            raise mistake(path, None, text, remedy)
