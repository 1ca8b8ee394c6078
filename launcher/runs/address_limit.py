"""A limit on the addresses of a process (`ulimit -v`) in which torch and its libraries don't fit, told by what they say of it.

Standard library alone, since a node starts it on every launch.
"""

from __future__ import annotations

import re
import resource

NOT_LOADED = re.compile(r"(?<![^\s/])(?P<file>[^\s/:]{1,255}): failed to map segment from shared object")
"""What the loader says of a library for which a process has no addresses left."""
NO_MORE = re.compile(
    r"\bMemoryError\b|\bstd::bad_alloc\b|can't start new thread|can(?:'t|not) allocate memory|memory allocation still failed",
    re.IGNORECASE,
)
"""What Python, C++ and torch say where they get no more of them."""
REMEDY = "ulimit -v unlimited, or ask for more memory"


def allowed() -> str | None:
    """What a process may have here, in words; None where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return f"a process may have {limit / 1e9:.1f} GB of addresses here (ulimit -v {limit >> 10})"


def too_small(words: str) -> str | None:
    """What the last words of a process come to where the limit, which holds here too, was too small; None for all others."""
    limit, library = allowed(), NOT_LOADED.search(words)
    if limit is None or not (library or NO_MORE.search(words)):
        return None
    what = f"could not load {library['file']}" if library else "got no more memory"
    return f"{what}: {limit}, too little for torch and its libraries"
