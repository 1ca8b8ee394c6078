"""How a recipe says that files are to be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher.recipe.data_formats import FormatName


@dataclass(frozen=True)
class ReadOptions:
    """How files are to be read; None leaves it to the format."""

    header: bool = True
    """Whether csv and tsv files start with a line of column names."""
    columns: tuple[str, ...] | None = None
    """Names for the columns of headerless csv, tsv and CoNLL files; further columns in the file are ignored."""
    delimiter: str | None = None
    """One character; by default a comma in csv, a tab in tsv, and any run of blanks and tabs in CoNLL files."""
    quoting: bool | None = None
    """Whether double quotes enclose fields (RFC 4180); by default yes in csv and no in tsv."""
    format: FormatName | None = None
    """The format, whatever the extension says."""
    nested: tuple[str, ...] = field(default=(), repr=False)
    """Dotted names of columns that may lie within objects."""
