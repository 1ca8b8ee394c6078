"""The family of a model that transformers built."""

from __future__ import annotations

from typing import Any

from launcher.errors import RunFailed
from launcher.families import FAMILIES, find
from launcher.families.shared.base import Family


def family_of(config: Any) -> Family:
    """The family of a configuration. Raises RunFailed('model') for one that is not known."""
    name = str(config.model_type)
    if name not in FAMILIES:
        raise RunFailed(
            "model", f"models of type {name} are not supported", "supported: " + ", ".join(FAMILIES)
        )
    return find(name)
