"""What stands at a path, and where caches are. One that can't be looked at is one where nothing stands: pathlib raises there."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path


def exists(path: Path | str) -> bool:
    """Whether there is anything."""
    return os.path.exists(path)  # noqa: PTH110 that of pathlib raises where a directory may not be searched


def is_dir(path: Path | str) -> bool:
    """Whether there is a directory."""
    return os.path.isdir(path)  # noqa: PTH112 as above


def is_file(path: Path | str) -> bool:
    """Whether there is a regular file."""
    return os.path.isfile(path)  # noqa: PTH113 as above


def identity(path: Path | str) -> tuple[int, int] | None:
    """What two paths have in common that lead to one file; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 as above
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def refusal(path: Path | str) -> str | None:
    """Why nobody can say what stands there, or None where that can be said."""
    try:
        os.stat(path)  # noqa: PTH116 as above
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return error.strerror
    return None


def user_cache() -> Path:
    """Our place among what can be made again, as the platform has it: on Linux in XDG_CACHE_HOME or ~/.cache.

    Raises RuntimeError where neither is known.
    """
    import platformdirs

    found = platformdirs.user_cache_path("launcher")
    if not found.is_absolute():
        raise RuntimeError("the user has no home directory")
    return found


def operators_cache(versions: str) -> Path:
    """Where this Python environment keeps operators that were compiled for these versions; `*` stands for any."""
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]
    return user_cache() / "torch_extensions" / f"{versions}-{environment}"
