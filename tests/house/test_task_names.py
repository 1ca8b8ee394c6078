"""A task is named in its own files alone: everything else asks its specification."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import launcher
from launcher import tasks

PACKAGE = Path(launcher.__file__).parent


def names_a_task(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every text in a module that is a task's name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in tasks.names():
            yield node.lineno, str(node.value)


def may_name_one(path: Path) -> bool:
    """Whether a file is one of the tasks' own."""
    inside = path.relative_to(PACKAGE).as_posix()
    return inside.startswith(("tasks/", "train/tasks/"))


def test_no_other_module_names_a_task() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in PACKAGE.rglob("*.py")
        if not may_name_one(path)
        for line, name in names_a_task(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_a_planted_name_is_found() -> None:
    planted = 'def several(task: str) -> bool:\n    return task in ("multilabel", "token-classification")\n'
    assert list(names_a_task(planted)) == [(2, "multilabel"), (2, "token-classification")]
    assert not may_name_one(PACKAGE / "reading" / "check.py")


def test_each_task_has_its_two_halves() -> None:
    for name in tasks.names():
        file = f"{name.replace('-', '_')}.py"
        assert (PACKAGE / "tasks" / file).is_file()
        assert (PACKAGE / "train" / "tasks" / file).is_file()
