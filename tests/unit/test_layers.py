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

# A module, or a package with all that is in it, and what it may import besides the standard library.
LAYERS = {
    "__init__": "",
    "__main__": "cli",
    "errors": "",
    "leash": "",
    "resources": "",
    "paths": "",
    "fields": "pydantic",
    "techniques": "fields pydantic",
    "task_sections": "fields pydantic",
    "compression_sections": "fields pydantic",
    "data_sections": "fields pydantic",
    "recipe": "compression_sections data_sections task_sections techniques fields pydantic",
    "conflicts": "recipe",
    "cluster": "fields errors pydantic",
    "yaml_source": "errors yaml",
    "schema": "yaml_source fields errors pydantic",
    "assignments": "schema yaml_source recipe errors",
    "loading": "assignments schema yaml_source conflicts recipe cluster errors resources paths",
    "textfiles": "paths errors",
    "conll": "textfiles errors",
    "squad": "textfiles",
    "datafiles": "conll squad textfiles errors pyarrow",
    "labels": "datafiles errors",
    "tagging": "",
    "columns": "recipe",
    "examples": "recipe columns datafiles labels",
    "cleaning": "recipe data_sections columns datafiles examples",
    "datacheck": "cleaning recipe data_sections fields columns datafiles textfiles examples labels tagging errors",
    "shapes": "paths errors",
    "estimate": "recipe shapes errors",
    "throughput": "fields estimate shapes",
    "compilation": "conflicts recipe",
    "plan": "compilation throughput conflicts recipe fields cluster estimate shapes errors",
    "plan_conflicts": "compilation plan recipe conflicts cluster shapes errors",
    "render": "plan errors jinja2",
    "run": "plan paths errors",
    "failure": "run errors",
    "metrics": "",
    "report": "run metrics errors",
    "smaller": "run",
    "account": "metrics run",
    "node": "account failure smaller run errors",
    "executors": "node run plan errors",
    # prefetch reads a resolved recipe; LoRA's targets are the same here as in the plan's estimate.
    "train": "recipe compression_sections data_sections task_sections techniques fields plan "
    "run metrics failure leash paths smaller loading shapes "
    "columns conflicts textfiles datafiles labels tagging examples cleaning datacheck errors *",
}
LAYERS["cli"] = " ".join((*LAYERS.keys() - {"train"}, "click", "rich"))

# What turns the same recipe into the same files can't look at the machine it runs on.
PURE = (
    "fields",
    "data_sections",
    "compression_sections",
    "techniques",
    "task_sections",
    "recipe",
    "conflicts",
    "cluster",
    "estimate",
    "throughput",
    "compilation",
    "plan",
    "plan_conflicts",
    "render",
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


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    own = layer(path)
    assert own in LAYERS, f"add {own} to the table of layers"
    allowed = {own, "launcher", *LAYERS[own].split()}
    any_package = "*" in allowed
    for line, target in imported(path):
        if target in sys.stdlib_module_names or (any_package and target not in LAYERS):
            continue
        assert target in allowed, f"{path}:{line}: {own} may not import {target}"


@pytest.mark.parametrize("name", PURE)
def test_planning_looks_at_nothing_but_its_arguments(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    assert not {target for _, target in imported(path)} & IMPURE


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
