"""Parameters of a test of which a few are shown by make test, and all by make test-faults."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def quick(cases: Iterable[object], among: Collection[object]) -> list[Any]:
    """All cases, of which those that aren't among these carry the mark long."""
    return [pytest.param(case, marks=() if case in among else pytest.mark.long) for case in cases]
