"""The imports of a package as they stand in its files, those in functions and under TYPE_CHECKING included.

python tests/support/import_graph.py    prints which package of launcher/ imports which
"""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Mapping
from pathlib import Path

Graph = dict[str, set[str]]
"""Module or room -> those that it imports."""

ROOT = Path(__file__).resolve().parents[2]


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> tuple[tuple[int, str], ...]:
    """Line and dotted name of every import in a file; `from a import b` gives a.b."""
    return _imports(path.read_text(encoding="utf-8"))


@functools.cache
def _imports(text: str) -> tuple[tuple[int, str], ...]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return tuple(found)


def file_graph(package: Path) -> Graph:
    """Which module of the package imports which."""
    known = modules(package)
    graph: Graph = {}
    for name, path in known.items():
        targets = {_module(target, known) for _, target in imported(path)}
        graph[name] = {target for target in targets if target is not None and target != name}
    return graph


def _module(name: str, known: Mapping[str, Path]) -> str | None:
    """The module that `name`, which may be something within a module, is imported from."""
    if name in known:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in known else None


def room(name: str, depth: int = 1) -> str:
    """The room of a module: launcher.train.step.plain is in `train` at depth 1, in `step` at depth 2."""
    parts = name.split(".")
    return parts[depth] if len(parts) > depth else "__init__"


def room_graph(graph: Graph, inside: str = "launcher") -> Graph:
    """Which room of the package `inside` imports which others of it."""
    depth = inside.count(".") + 1
    rooms: Graph = {}
    for name, targets in graph.items():
        if name == inside or name.startswith(f"{inside}."):
            own = rooms.setdefault(room(name, depth), set())
            own |= {room(target, depth) for target in targets if target.startswith(f"{inside}.")}
    return {name: targets - {name} for name, targets in rooms.items()}


def circle(graph: Graph) -> list[str]:
    """A circle of imports, first and last the same; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])[::-1]
    return []


def table(graph: Graph) -> str:
    """The graph as text, each room after all that it imports."""
    order = list(graphlib.TopologicalSorter(graph).static_order())
    width = max(map(len, order))
    ranked = [(name, sorted(graph.get(name, ()), key=order.index)) for name in order]
    return "\n".join(f"{name:{width}} <- {' '.join(targets)}".rstrip(" <-") for name, targets in ranked)


if __name__ == "__main__":
    files = file_graph(ROOT / "launcher")
    for inside in ("launcher", "launcher.train"):
        print(f"{inside}: package <- what it imports\n{table(room_graph(files, inside))}\n")
