"""`make test` runs every test but those that have a target of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
OWN_TARGET = {"tests/faults"}
"""make test-faults and make faults, but for the quick files that are listed."""


def test_every_room_of_tests_is_run() -> None:
    settings = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["pytest"]["ini_options"]["testpaths"])
    files = {path.relative_to(TESTS.parent).parts[:2] for path in TESTS.rglob("test_*.py")}
    rooms = {"/".join(parts) for parts in files}
    quick = {name for name in listed if str(Path(name).parent) in OWN_TARGET}
    assert rooms == (listed - quick) | OWN_TARGET
    assert all((TESTS.parent / name).is_file() for name in quick)
