"""What concerns a whole process of ours, for entry points alone: how it starts sooner, who may change its files, how it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator

OTHERS_WRITE = 0o022
OTHERS = 0o077
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a process to end."""
AGAIN_S = 3.0
"""So soon after the first, further ones change nothing: what is half done is being taken back."""


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_in_order() -> None:
    """Let each of ENDING raise Interrupted, so that what is half done is taken back; those that are ignored stay so."""
    last_at = float("-inf")

    def leave(number: int, _frame: object) -> None:
        nonlocal last_at
        if time.monotonic() - last_at > AGAIN_S:
            last_at = time.monotonic()
            raise Interrupted(number)

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def stay_ended() -> None:
    """Once the exit code is known, and only Python itself is to be left, no signal changes it."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def open_streams() -> None:
    """Let stdin, stdout and stderr lead nowhere where they were closed: files opened later would take their numbers."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w", encoding="utf-8"))


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
