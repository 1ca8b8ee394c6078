"""A model family is named in its own files alone: everything else asks its specification."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import launcher
from launcher.families import FAMILIES

PACKAGE = Path(launcher.__file__).parent


def names_a_family(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every text in a module that is a family's name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in FAMILIES:
            yield node.lineno, str(node.value)


def may_name_one(path: Path) -> bool:
    """Whether a file is one of the families' own."""
    inside = path.relative_to(PACKAGE)
    own = {name.replace("-", "_") for name in FAMILIES}
    return inside.parts[0] == "families" or (inside.parent.as_posix() == "train/model" and inside.stem in own)


def test_no_other_module_names_a_family() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in PACKAGE.rglob("*.py")
        if not may_name_one(path)
        for line, name in names_a_family(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_a_planted_name_is_found() -> None:
    planted = 'def offset(kind: str) -> int:\n    return 2 if kind in ("roberta", "xlm-roberta") else 0\n'
    assert list(names_a_family(planted)) == [(2, "roberta"), (2, "xlm-roberta")]
    assert not may_name_one(PACKAGE / "train" / "model" / "build.py")
