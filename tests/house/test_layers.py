"""Who may import whom: the table, and what it buys (a command line that starts without the heavy packages)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher

PACKAGE = Path(launcher.__file__).parent

# A room, and the rooms on its right, which it may import together with what these may import; packages of others by name.
BASE = "errors figures parent_death paths resources"
LAYERS = {
    **dict.fromkeys(BASE.split(), ""),
    "__init__": "",
    "__main__": "cli",
    "recipe": f"{BASE} pydantic",
    "tasks": "recipe",
    "families": BASE,
    "loading": "recipe tasks yaml",
    "reading": "recipe tasks pyarrow charset_normalizer",
    "runs": f"{BASE} tasks",
    "planning": "recipe tasks families loading reading runs jinja2",
    "executors": "runs node psutil",
    "node": "runs psutil",
    "sweeps": "planning executors",
    "report": "runs tasks jinja2",
    "api": "planning executors",
    "cli": "recipe tasks families loading reading runs planning executors sweeps report node click rich",
    "train": "recipe tasks families reading planning runs *",
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


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and layer, or top-level package, of every import in a file, those within functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, _target(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, _target(f"{node.module}.{alias.name}")


def _target(name: str) -> str:
    parts = name.split(".")
    if parts[0] != "launcher" or len(parts) == 1:
        return parts[0]
    inside = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return parts[1] if inside else "launcher"


def reach(room: str) -> set[str]:
    """All that a room may import."""
    right = set(LAYERS.get(room, "").split())
    return right.union(*map(reach, right))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    own = layer(path)
    assert own in LAYERS, f"add {own} to the table of layers"
    allowed = {own, "launcher", *reach(own)}
    any_package = "*" in allowed
    for line, target in imported(path):
        if target in sys.stdlib_module_names or (any_package and target not in LAYERS):
            continue
        assert target in allowed, f"{path}:{line}: {own} may not import {target}"


def test_planning_looks_at_nothing_but_its_arguments() -> None:
    for path in modules():
        name = path.relative_to(PACKAGE).as_posix()
        if layer(path) in PURE and name not in GATHERS:
            assert not {target for _, target in imported(path)} & IMPURE, name


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
