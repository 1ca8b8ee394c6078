"""A task, a model family and a scheduler are named in their own files alone: everything else asks what they say of themselves."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import launcher
from launcher import tasks
from launcher.executors import SCHEDULERS
from launcher.families import FAMILIES

PACKAGE = Path(launcher.__file__).parent
HOMES = ("launcher.tasks", "launcher.train.tasks", "launcher.families", "launcher.executors")


class Kind(NamedTuple):
    """What has names, and the files that may say them."""

    names: Collection[str]
    own: Callable[[str], bool]


def module_of(name: str) -> str:
    return name.replace("-", "_")


KINDS = {
    "task": Kind(tasks.names(), lambda path: path.startswith(("tasks/", "train/tasks/"))),
    "family": Kind(
        FAMILIES,
        lambda path: (
            path.startswith("families/") or path in {f"train/model/{module_of(name)}.py" for name in FAMILIES}
        ),
    ),
    # resources.py has the name of the directory slurm/, the two plans that of the key in plan.json.
    "scheduler": Kind(
        SCHEDULERS,
        lambda path: (
            path.startswith("executors/") or path in ("resources.py", "planning/plan.py", "runs/run_plan.py")
        ),
    ),
}


def said(source: str, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """Line and name of every text in a module that is one of these names, and of every module and attribute that has it."""
    modules = {module_of(name) for name in names}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in names:
            yield node.lineno, str(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(HOMES):
            named = {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)}
            yield from ((node.lineno, name) for name in sorted(named & modules))
        elif isinstance(node, ast.Attribute) and node.attr in SCHEDULERS and node.attr in modules:
            yield node.lineno, node.attr


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_module_names_one(kind: str) -> None:
    names, own = KINDS[kind]
    found = {
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in PACKAGE.rglob("*.py")
        if not own(path.relative_to(PACKAGE).as_posix())
        for line, name in said(path.read_text(encoding="utf-8"), names)
    }
    assert not found


@pytest.mark.parametrize(
    ("kind", "planted", "name"),
    [
        ("task", 'return task in ("multilabel", "pair")', "multilabel"),
        ("family", 'return 2 if kind == "roberta" else 0', "roberta"),
        ("task", "from launcher.train.tasks.masked_lm import MASK", "masked_lm"),
        ("scheduler", 'if plan.executor == "slurm": pass', "slurm"),
        ("scheduler", "return plan.slurm is not None", "slurm"),
        ("scheduler", "from launcher.executors.slurm import Slurm", "slurm"),
    ],
)
def test_a_planted_name_is_found(kind: str, planted: str, name: str) -> None:
    names, own = KINDS[kind]
    assert list(said(f"def f(task, kind, plan):\n    {planted}\n", names)) == [(2, name)]
    assert not own("reading/check.py")
    assert not own("train/model/build.py")


def test_each_task_has_its_two_halves() -> None:
    for name in tasks.names():
        assert (PACKAGE / "tasks" / f"{module_of(name)}.py").is_file()
        assert (PACKAGE / "train" / "tasks" / f"{module_of(name)}.py").is_file()
