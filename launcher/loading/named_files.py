"""Recipes and cluster profiles by name or path: ./recipes and ./slurm, then those that are shipped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher import paths
from launcher.errors import UserError, choices
from launcher.loading.schema import shown
from launcher.loading.yaml_source import parse, read_text
from launcher.near_files import near_file
from launcher.recipe.data_formats import format_named
from launcher.resources import Kind, resource_dir


@dataclass(frozen=True)
class RecipeEntry:
    """One line in the list of recipes."""

    name: str
    path: Path
    description: str | None
    task: str | None


def list_recipes(cwd: Path) -> list[RecipeEntry]:
    """The recipes that can be called by name: those in ./recipes, then the shipped ones; by name."""
    return [_entry(path) for _, path in sorted(files_by_name("recipes", cwd.absolute()).items())]


def names_of(kind: Kind, cwd: Path) -> list[str]:
    """What recipes or cluster profiles can be called."""
    return sorted(files_by_name(kind, cwd))


def locate(kind: Kind, reference: str, cwd: Path, environ: Mapping[str, str]) -> Path:
    """The file meant by a name or path; UserError with the nearest name where there is none."""
    names = files_by_name(kind, cwd)
    by_path = is_path(reference)
    if not by_path and reference in names:
        return names[reference]
    path = Path(absolute(reference, cwd, environ))
    if kind == "recipes" and format_named(path) not in (None, "json") and _exists(path):
        remedy = f"launch init {shlex.quote(reference)} writes a recipe for it"
        raise UserError("is a data file, not a recipe", "override", "recipe", reference, remedy)
    if by_path and _exists(path):
        return path
    key = "recipe" if kind == "recipes" else "cluster"
    place = "override" if kind == "recipes" else None
    if by_path and (reason := paths.refusal(path)) is not None:
        raise UserError(
            f"can't be read: {reason}", place, key, reference, "check the path and its permissions"
        )
    message = "there is no such file" if by_path else f"unknown {key}"
    beside: list[str] = []
    if not by_path:
        beside = [name for suffix in (".yaml", ".yml") if _exists(cwd / (name := f"{reference}{suffix}"))]
        beside += [f"./{reference}"] if reference and paths.is_file(path) else []
    elif (guess := near_file(path)) is not None and guess.suffix in (".yaml", ".yml"):
        beside = [str(guess.relative_to(cwd) if guess.is_relative_to(cwd) else guess)]
    remedy = f"did you mean {key}={beside[0]}? " if beside else ""
    remedy += choices(Path(reference).stem[:100], sorted(names))
    raise UserError(message, place, key, reference, remedy)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def files_by_name(kind: Kind, cwd: Path) -> dict[str, Path]:
    """Name -> file, for all files that can be meant by name."""
    shipped, own = resource_dir(kind), cwd / kind
    return {path.stem: path for directory in (shipped, own) for path in directory.glob("*.yaml")}


def is_path(reference: str) -> bool:
    """Whether this is a path and no name."""
    return "/" in reference or reference.endswith((".yaml", ".yml")) or reference.startswith(("~", "."))


def _entry(path: Path) -> RecipeEntry:
    try:
        tree = parse(read_text(path, path.name), path.name, []).plain()
    except UserError:
        return RecipeEntry(path.stem, path, f"can't be read: launch plan recipe={path.stem} says why", None)
    description, task = tree.get("description"), tree.get("task")
    return RecipeEntry(path.stem, path, shown(description), shown(task))


def absolute(path: str, base: Path, environ: Mapping[str, str]) -> str:
    """The path from `base`, or from the home directory where it begins with ~."""
    if path == "~" or path.startswith("~/"):
        path = (environ.get("HOME") or str(Path.home())) + path[1:]
    return os.path.normpath(base / path)
