"""What data.source names: a data set of the hub or a directory, and which of its configurations."""

from __future__ import annotations

from launcher import paths


def name_and_config(source: str) -> tuple[str, str | None]:
    """The id or the directory, and the configuration behind the last colon, where there is one.

    A directory may have a colon in its name, so it is looked for.
    """
    name, colon, config = source.rpartition(":")
    return (name, config) if colon and not paths.exists(source) else (source, None)
