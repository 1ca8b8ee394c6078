"""Who may import whom: the table, and what it buys (a command line that starts without the heavy packages)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import import_graph
from support.import_graph import imported, room, room_graph

import launcher

PACKAGE = Path(launcher.__file__).parent

# PLAIN is what looks at no machine: recipes, tasks and families import nothing else of the base.
# A room, and the rooms on its right, which it may import together with what these may import; packages of others by name.
PLAIN = "errors figures resources secret_values visible"
BASE = (
    f"{PLAIN} commands control_groups data_source host_memory near_files network parent_death paths start_up"
)
LAYERS = {
    **dict.fromkeys(BASE.split(), ""),
    "paths": "platformdirs",
    "network": "psutil",
    "host_memory": "control_groups",
    "near_files": "errors paths",
    "data_source": "paths",
    "__init__": "",
    "__main__": "cli",
    "recipe": f"{PLAIN} pydantic",
    "tasks": "recipe",
    "families": PLAIN,
    "loading": f"{BASE} recipe tasks yaml",
    "reading": f"{BASE} recipe tasks pyarrow charset_normalizer",
    "runs": f"{BASE} tasks",
    "engine": "runs",
    "planning": "recipe tasks families loading reading runs executors engine jinja2",
    "executors": "runs psutil",
    "health": "runs",
    "node": "executors health",
    "drafts": "planning executors",
    "sweeps": "planning executors optuna",
    "cards": "runs tasks",
    "report": "runs tasks reading jinja2",
    "api": "planning executors train",
    "cli": "planning executors health sweeps drafts report cards node click rich textual",
    "train": "recipe tasks families reading planning runs cards health engine *",
}

# What turns the same recipe into the same files can't look at the machine it runs on. Of planning, four modules do:
# they gather what the plan is made from.
PURE = ("recipe", "tasks", "planning")
GATHERS = (
    "planning/machine.py",
    "planning/model_config.py",
    "planning/prepare.py",
    "planning/starting_point.py",
)
IMPURE = {"datetime", "os", "platform", "random", "secrets", "socket", "subprocess", "tempfile", "time"}

HEAVY = {"datasets", "deepspeed", "numpy", "pandas", "peft", "pyarrow", "torch", "transformers", "wandb"}


# The rooms of launcher/train likewise, and the modules that stand beside them.
TRAIN = {
    "__init__": "",
    "compat": "",
    "hub": "",
    "pretrained": "compat hub",
    "process": "",
    "tokens": "process pretrained",
    "reading": "tokens compat",
    "augment": "reading",
    "tasks": "reading compat",
    "dataset": "augment tasks",
    "packed": "tasks",
    "model": "packed",
    "step": "model",
    "record": "process",
    "use": "inputs",
    "compress": "use",
    "inputs": "dataset model",
    "probe": "step",
    "job": "inputs compress step record probe",
    "batches": "job",
    "validation": "job",
    "not_finite": "job",
    "whole_batch": "batches",
    "loop": "whole_batch validation not_finite",
    "session": "loop",
    "verbs": "job",
    "__main__": "session verbs",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def reach(name: str, rooms: dict[str, str]) -> set[str]:
    """All that a room may import."""
    right = set(rooms.get(name, "").split())
    return right.union(*(reach(other, rooms) for other in right))


def forbidden(package: Path) -> list[str]:
    """Every import that the tables don't allow, and a circle of modules where there is one."""
    found = []
    for name, path in import_graph.modules(package).items():
        found += [f"{path}:{line}: {text}" for line, text in _forbidden_in(name, path, package)]
    if circle := import_graph.circle(import_graph.file_graph(package)):
        found.append(f"a circle of imports: {' -> '.join(circle)}")
    return found


def _forbidden_in(name: str, path: Path, package: Path) -> Iterator[tuple[int, str]]:
    own, inner = room(name), room(name, 2)
    allowed = {own, "launcher", *reach(own, LAYERS)}
    if own not in LAYERS or (own == "train" and inner not in TRAIN):
        yield 1, f"add {name} to the table"
    for line, target in imported(path):
        package_of_it, *rest = target.split(".")
        if package_of_it != "launcher":
            heard_of = package_of_it in {*sys.stdlib_module_names, *allowed}
            if not heard_of and "*" not in allowed:
                yield line, f"{own} may not import {package_of_it}"
            continue
        outer = rest[0] if rest and _is_module(package, rest[0]) else "__init__"
        if outer not in {*allowed, "__init__"}:
            yield line, f"{own} may not import {outer}"
        elif own == outer == "train" and len(rest) > 1 and rest[1] not in {inner, *reach(inner, TRAIN)}:
            yield line, f"train/{inner} may not import train/{rest[1]}"


def _is_module(package: Path, name: str) -> bool:
    return (package / name).is_dir() or (package / f"{name}.py").is_file()


def test_imports_follow_the_tables_and_never_go_in_circles() -> None:
    assert forbidden(PACKAGE) == []


@pytest.mark.parametrize("inside", ["launcher", "launcher.train"])
def test_rooms_never_go_in_circles(inside: str) -> None:
    assert import_graph.circle(room_graph(import_graph.file_graph(PACKAGE), inside)) == []


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("recipe/recipe.py", "from launcher.planning.plan import Plan", "recipe may not import planning"),
        ("recipe/data.py", "from launcher import paths", "recipe may not import paths"),
        ("planning/plan.py", "def f():\n    import torch", "planning may not import torch"),
        ("runs/directory.py", "if TYPE_CHECKING:\n    import launcher.cli", "runs may not import cli"),
        ("train/process/ranks.py", "import launcher.train.loop", "train/process may not import train/loop"),
        (
            "train/step/plain.py",
            "from launcher.train.use import latency",
            "train/step may not import train/use",
        ),
        ("train/step/strategy.py", "import launcher.train.step.plain", "a circle of imports"),
        (
            "recipe/fields.py",
            "def f():\n    from launcher.recipe.recipe import Recipe",
            "a circle of imports",
        ),
        ("train/heap.py", "", "add launcher.train.heap to the table"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, line: str, message: str) -> None:
    copy = tmp_path / "launcher"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "_data"))
    with (copy / file).open("a", encoding="utf-8") as planted:
        planted.write(f"\n{line}\n")
    assert any(message in problem for problem in forbidden(copy))


def test_planning_looks_at_nothing_but_its_arguments() -> None:
    for path in modules():
        name = path.relative_to(PACKAGE).as_posix()
        if layer(path) in PURE and name not in GATHERS:
            assert not {target.split(".")[0] for _, target in imported(path)} & IMPURE, name


def loaded_after(code: str) -> set[str]:
    """Top-level packages loaded in a new process that ran `code`."""
    report = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_launch_side_loads_no_heavy_package() -> None:
    own = [path.relative_to(PACKAGE.parent) for path in modules() if layer(path) not in ("train", "__main__")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in own]
    assert not loaded_after("import " + ", ".join(names)) & HEAVY


def test_help_loads_neither_the_schema_nor_the_parser() -> None:
    code = "from launcher.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_after(code) & {*HEAVY, "pydantic", "yaml", "jinja2"}
