"""What concerns a whole process of ours, for entry points alone: how it starts sooner, and who may change what it makes."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

OTHERS_WRITE = 0o022
OTHERS = 0o077


def keep_from_others(rights: int) -> None:
    """Make no file or directory on which others have these rights; what the umask takes from them already stays so."""
    os.umask(os.umask(OTHERS) | rights)


def without_plugins() -> None:
    """Keep pydantic from reading the metadata of every installed package for plugins: 25 ms, and ours has none."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def collect_seldom() -> None:
    """For a short process: what it makes, it needs; looking for garbage as often as by default takes 5 % of `launch plan`."""
    gc.set_threshold(100_000, 20, 20)


def leave_garbage() -> None:
    """Before a process ends: the interpreter then looks for none among what is freed anyway, 80 ms of `launch plan`."""
    gc.freeze()


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Import much without looking for garbage meanwhile, and never look at these modules again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
