"""Private parts of other libraries are used in launcher/train/compat/ and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher

PACKAGE = Path(launcher.__file__).parent
COMPAT = PACKAGE / "train" / "compat"
DOCUMENTED = {"_exit", "_asdict", "_fields", "_replace", "_make"}
"""Names of Python's own library that begin with an underscore and are described in its manual."""
IMPORT_SYSTEM = {"meta_path", "path_hooks"}


def own_names() -> set[str]:
    """Every name with an underscore before it that a file of ours defines."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def private_uses(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """What a file takes from others although its name says that it is private, or does to how Python imports."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.Attribute) and not _is_self(node.value) and _is_foreign(node.attr, own)) or (
            isinstance(node, ast.Attribute)
            and ast.unparse(node).startswith("sys.")
            and node.attr in IMPORT_SYSTEM
        ):
            yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            if ast.unparse(node.value) == "sys.modules":
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("launcher"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(_is_foreign(name, own) for name in names):
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and _is_foreign(str(name.value), own):
                yield f"{node.lineno}: {ast.unparse(node)}"


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_foreign(name: str, own: set[str]) -> bool:
    private = name.startswith("_") and not name.startswith("__") and name != "_"
    return private and name not in own and name not in DOCUMENTED


def test_nothing_outside_compat_uses_what_other_libraries_keep_to_themselves() -> None:
    own, found = own_names(), []
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.is_relative_to(COMPAT):
            uses = private_uses(ast.parse(path.read_text(encoding="utf-8")), own)
            found += [f"{path.relative_to(PACKAGE)}:{use}" for use in uses]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "torch._C._cuda_releasePool(0, pool)",
        "from transformers.modeling_utils import _init_weights_of",
        "sys.modules['torch'] = None",
        "sys.meta_path.insert(0, finder)",
        "getattr(optimizer, '_step_supports_amp_scaling', False)",
    ],
)
def test_such_a_use_is_found(line: str) -> None:
    assert list(private_uses(ast.parse(line), own=set()))


def test_every_module_of_compat_says_what_was_tested_or_that_all_is_public() -> None:
    for path in sorted(COMPAT.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.stem not in ("__init__", "switch", "short_start", "expected_warnings"):
            assert "Tested with" in text, path.name
