"""What every module here does alike: it stands aside under LAUNCH_COMPAT=off, and says so where a private part is gone."""

from __future__ import annotations

import functools
import os
import sys

TESTED = {
    "torch": ("2.13",),
    "transformers": ("5.23",),
    "peft": ("0.21",),
    "deepspeed": ("0.19",),
    "wandb": ("0.31",),
    "datasets": ("5.2",),
}
"""Versions, up to the minor one, that the tests have run with: those of constraints.txt."""


def saves_time() -> bool:
    """Whether to use private parts that change nothing but the time taken: not under LAUNCH_COMPAT=off."""
    return os.environ.get("LAUNCH_COMPAT") != "off"


@functools.cache
def say_gone(part: str, instead: str) -> None:
    """Print one line, once, which stands in the rank's log, about a part that the installed version doesn't have."""
    print(f"launch: {part} is gone from the installed version; {instead}", file=sys.stderr)


def never_tested(versions: dict[str, str]) -> list[str]:
    """`name version` of each package in a version that the tests have never run with."""
    return [
        f"{name} {versions[name]}"
        for name, tested in TESTED.items()
        if name in versions and ".".join(versions[name].split(".")[:2]) not in tested
    ]
