"""The formats that data files may have, and the extensions that name them; launcher/reading/formats reads them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal, get_args

FormatName = Literal["csv", "tsv", "json", "jsonl", "parquet", "txt", "conll", "conllu", "squad"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
EXTENSIONS: dict[str, FormatName] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
    ".conll": "conll",
    ".bio": "conll",
    ".iob2": "conll",
    ".conllu": "conllu",
}
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Extensions of compressed files, which stand behind that of the format: `train.csv.gz`."""
COLUMNS_OF_WORDS: tuple[FormatName, ...] = ("conll", "conllu")
"""Formats with a line for each word, where a sentence is a row; none of them has a header line."""


def extension(path: str | PurePath) -> str:
    """The extension that names the format, in lower case: `.csv` of `Train.CSV.gz`; "" where there is none."""
    name = PurePath(path)
    return PurePath(name.stem).suffix.lower() if name.suffix.lower() in PACKED else name.suffix.lower()


def format_named(path: str | PurePath) -> FormatName | None:
    """The format that the name of a file tells, or None."""
    return EXTENSIONS.get(extension(path))
