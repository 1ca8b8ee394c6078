"""Which versions a training or a machine has; without torch."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("torch", "transformers", "deepspeed", "peft", "datasets", "wandb")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
