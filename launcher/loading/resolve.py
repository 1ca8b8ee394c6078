"""From files, environment and command line to one recipe, with the origin of every value and all mistakes at once.

    defaults < W&B's own variables < recipe file < environment LAUNCH_SECTION__KEY < section.key=value

A cluster profile fills only keys that all of these leave null. Paths in a recipe are relative to its file, elsewhere to
the working directory; `runs_dir` always to the working directory, since shipped recipes may lie in site-packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher import paths
from launcher.data_source import name_and_config
from launcher.errors import Conflict, Problem, UserError
from launcher.loading.assignments import (
    RECIPE,
    Given,
    Mistakes,
    from_environment,
    from_wandb,
    from_words,
    unknown_variables,
)
from launcher.loading.named_files import absolute, files_by_name, is_path, locate
from launcher.loading.other_names import called_in_a_profile
from launcher.loading.schema import (
    Misfit,
    Schema,
    as_wanted,
    fit,
    flatten,
    hint,
    schema_of,
    shown,
)
from launcher.loading.yaml_source import Node, dump, parse, read_text
from launcher.recipe.cluster import SECRET_HERE, Cluster
from launcher.recipe.fields import LocalPath
from launcher.recipe.recipe import TASKS, Recipe
from launcher.resources import PROFILES
from launcher.tasks.shared.conflicts import conflicts

ON_DISK = ("/", "./", "../", "~")
"""How paths begin that aren't taken for names or ids."""


@dataclass(frozen=True)
class Loaded:
    """A resolved recipe: what is asked, where, and who said so."""

    recipe: Recipe
    cluster: Cluster
    """The profile named by the recipe, or an empty one."""
    origins: Mapping[str, str]
    """Every leaf key -> `x.yaml:7`, `cluster`, `environment LAUNCH_X`, `override` or `default`."""
    name: str
    """The recipe's name: the stem of its file, with what a file or job name can't hold replaced by '-'."""
    path: Path
    """The recipe's file."""
    notes: tuple[str, ...] = ()
    """What is worth saying although it is no mistake."""


class RecipeMistakes(UserError):
    """The mistakes in a recipe, and the recipe without the keys they are about, so that the rest can be checked too."""

    def __init__(self, problems: Sequence[Problem], loaded: Loaded | None, doubtful: frozenset[str]) -> None:
        super().__init__(problems)
        self.loaded = loaded
        """None where the file can't be read at all."""
        self.doubtful = doubtful
        """Keys with a mistake, which have their defaults in `loaded`."""


def load(assignments: Sequence[str], *, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """Resolve `["recipe=NAME|PATH", "key=value", ...]`; RecipeMistakes with every mistake found in all places."""
    cwd = cwd.absolute()
    mistakes = Mistakes()
    reference, overrides = from_words(assignments, cwd, mistakes)
    environment = from_environment(environ, cwd, mistakes)
    path, written = _recipe(reference, cwd, environ, mistakes)
    merged = {**from_wandb(environ, cwd, mistakes), **written, **environment, **overrides}
    file_name = path.name if path else "recipe"
    values = _fitting(merged, file_name, mistakes, readable=path is not None)
    origins = dict.fromkeys(schema_of(Recipe).leaves, "default")
    origins.update((key, given.where) for key, given in merged.items())
    _keep_one_source(values, merged, origins)
    _resolve_paths(values, merged, environ, cwd)
    cluster = _cluster(values, origins, cwd, mistakes)
    for key, value in cluster.fills().items():
        if value is not None and values.get(key) is None and key not in mistakes.keys:
            values[key], origins[key] = value, "cluster"
    recipe = _build(values, origins, file_name, mistakes, readable=path is not None)
    loaded = None
    if path is not None and recipe is not None:
        unknown = unknown_variables(environ)
        notes = () if unknown is None else (unknown,)
        loaded = Loaded(recipe, cluster, origins, _safe_name(path.stem), path, notes)
    if mistakes.problems or loaded is None:
        problems = sorted(mistakes.problems, key=lambda problem: _place(problem, file_name))
        raise RecipeMistakes(problems, loaded, frozenset(mistakes.keys))
    return loaded


def load_cluster(reference: str, *, cwd: Path) -> Cluster:
    """A cluster profile by name (./slurm/NAME.yaml, then the shipped ones) or path; UserError with every mistake."""
    path = locate(PROFILES, reference, cwd.absolute(), os.environ)
    nodes, problems = _read(path, schema_of(Cluster))
    problems = [_in_a_profile(problem) for problem in problems]
    leaves = schema_of(Cluster).leaves
    values = {key: as_wanted(node, leaves[key]) for key, node in nodes.items()}
    cluster, misfits = fit(schema_of(Cluster), values)
    for key, misfit in ((key, misfit) for key, found in misfits.items() for misfit in found):
        node = nodes.get(key)
        inner = node.value.get(misfit.inside or "", node) if node and isinstance(node.value, dict) else node
        where = f"{path.name}:{inner.line}" if inner else path.name
        problems.append(_problem(key, misfit, schema_of(Cluster), node, where))
    if isinstance(cluster, Cluster) and cluster.setup:
        problems += _shell_problems(cluster.setup, nodes["setup"], path.name)
    if problems or not isinstance(cluster, Cluster):
        raise UserError(problems)
    return cluster


def dump_recipe(recipe: Recipe) -> str:
    """YAML of the whole recipe, every default written out, which reads back to an equal one."""
    return dump(recipe.tree())


def read_recipe_file(path: Path) -> Recipe:
    """A resolved recipe as `dump_recipe` wrote it: no environment, no overrides, paths as they stand."""
    name = f"{path.parent.name}/{path.name}"  # every run has one of this name
    nodes, problems = _read(path, schema_of(Recipe), name)
    mistakes = Mistakes(problems)
    merged = {key: Given(node, f"{name}:{node.line}", RECIPE, path.parent) for key, node in nodes.items()}
    values = _fitting(merged, name, mistakes, readable=True)
    origins = {key: given.where for key, given in merged.items()}
    recipe = _build(values, origins, name, mistakes, readable=True)
    if mistakes.problems or recipe is None:
        raise UserError(mistakes.problems)
    return recipe


def changed(recipe: Recipe, values: Mapping[str, Any], words: Sequence[str], cwd: Path) -> Recipe:
    """A resolved recipe with other `values` for some keys, and those that `words` give; UserError with every mistake."""
    mistakes = Mistakes()
    _, given = from_words(words, cwd, mistakes)
    fitting = _fitting(given, "recipe.yaml", mistakes, readable=False)
    if mistakes.problems:
        raise UserError(mistakes.problems)
    mistakes = Mistakes()
    merged = recipe.by_key() | dict(values) | fitting
    origins = {key: value.where for key, value in given.items()}
    found = _build(merged, origins, "recipe.yaml", mistakes, readable=True)
    if mistakes.problems or found is None:
        raise UserError(mistakes.problems)
    return found


# Files


def _recipe(
    reference: str | None, cwd: Path, environ: Mapping[str, str], mistakes: Mistakes
) -> tuple[Path | None, dict[str, Given]]:
    """The recipe's file and what it gives; the path is None where there is nothing that can be read."""
    if "recipe" in mistakes.keys:
        return None, {}
    try:
        if not reference:
            names = ", ".join(sorted(files_by_name("recipes", cwd)))
            raise UserError("no recipe given", remedy=f"recipe=NAME or recipe=PATH; there are: {names}")
        path = locate("recipes", reference, cwd, environ)
        nodes, problems = _read(path, schema_of(Recipe))
    except UserError as error:
        mistakes.problems += error.problems
        return None, {}
    mistakes.problems += problems
    mistakes.keys.update(problem.field for problem in problems if problem.field)
    written = {
        key: Given(node, f"{path.name}:{node.line}", RECIPE, path.parent) for key, node in nodes.items()
    }
    return path, written


def _read(path: Path, schema: Schema, name: str | None = None) -> tuple[dict[str, Node], list[Problem]]:
    """What stands in a file, and what is wrong with it, told by its name or the one given."""
    problems: list[Problem] = []
    name = name or path.name
    tree = parse(read_text(path, name), name, problems)
    nodes, unknown = flatten(tree, schema, name)
    return nodes, problems + unknown


def _cluster(values: Mapping[str, Any], origins: Mapping[str, str], cwd: Path, mistakes: Mistakes) -> Cluster:
    if values.get("cluster") is None:
        return Cluster()
    try:
        return load_cluster(values["cluster"], cwd=cwd)
    except UserError as error:
        mistakes.problems += [
            problem if problem.where else replace(problem, where=origins["cluster"])
            for problem in error.problems
        ]
        return Cluster()


def _shell_problems(lines: Sequence[str], node: Node, file_name: str) -> Iterator[Problem]:
    """What bash finds wrong with the setup lines as they will stand in the job script; nothing is executed."""
    assert isinstance(node.value, tuple)
    bash = shutil.which("bash")
    if bash is None:
        return
    script = "\n".join(["prepare() {", *(f"    {line}" for line in lines), "}", ""])
    done = subprocess.run(
        [bash, "-n"], input=script.encode(), capture_output=True, env={"LC_ALL": "C"}, check=False
    )
    if done.returncode == 0:
        return
    said = done.stderr.decode(errors="replace").splitlines()[0]
    found = re.search(r"line (\d+): (.*)", said)
    number, message = (int(found[1]), found[2]) if found else (0, said)
    # Lines are counted from `prepare() {`; what never ends is noticed behind the last.
    at = min(max(number - 2, 0), len(lines) - 1)
    remedy = "these lines are run by bash on every node: correct them"
    yield Problem(f"bash says: {message}", f"{file_name}:{node.value[at].line}", "setup", lines[at], remedy)


def _in_a_profile(problem: Problem) -> Problem:
    """What to say of an unknown key of a profile, which a recipe may know."""
    schema = schema_of(Recipe)
    if problem.message != "unknown key" or problem.field is None:
        return problem
    if problem.field in (*schema.leaves, *schema.sections):
        message = "belongs in a recipe: a cluster profile holds facts about a site"
        return replace(problem, message=message, remedy="move it to the recipe, or give it as an override")
    return replace(problem, remedy=called_in_a_profile(problem.field, problem.remedy))


# Values


def _fitting(
    merged: Mapping[str, Given], file_name: str, mistakes: Mistakes, *, readable: bool
) -> dict[str, Any]:
    """The values that fit the schema; the others are reported."""
    schema = schema_of(Recipe)
    values = {key: as_wanted(given.node, schema.leaves[key]) for key, given in merged.items()}
    _, misfits = fit(schema, values)
    for key, misfit in ((key, misfit) for key, found in misfits.items() for misfit in found):
        given = merged.get(key)
        if given is not None or readable:
            node, where = (given.node, given.where) if given else (None, file_name)
            mistakes.add(_problem(key, misfit, schema, node, where), key)
    mistakes.keys.update(misfits)
    return {key: value for key, value in values.items() if key not in mistakes.keys}


def _problem(key: str, misfit: Misfit, schema: Schema, node: Node | None, where: str) -> Problem:
    field_name = key if misfit.inside is None else f"{key}.{misfit.inside}"
    is_hidden = misfit.inside is not None or misfit.message == SECRET_HERE
    value = None if node is None or is_hidden else shown(node) or "null"
    remedy = hint(schema, key, None if node is None else node.value)
    return Problem(misfit.message, where, field_name, value, remedy)


def _keep_one_source(values: dict[str, Any], merged: Mapping[str, Given], origins: dict[str, str]) -> None:
    """Files or a hub data set, whichever was given in the stronger place."""
    if values.get("data.source") is None or values.get("data.train") is None:
        return
    source, train = merged["data.source"].strength, merged["data.train"].strength
    if train > source:
        values["data.source"], origins["data.source"] = None, f"{origins['data.train']} (data.train given)"
    if source > train:
        for key in ("data.train", "data.validation", "data.test"):
            if values.get(key) is not None and merged[key].strength < source:
                values[key], origins[key] = None, f"{origins['data.source']} (data.source given)"


def _resolve_paths(
    values: dict[str, Any], merged: Mapping[str, Given], environ: Mapping[str, str], cwd: Path
) -> None:
    values.setdefault("runs_dir", "runs")
    local = tuple(schema_of(Recipe).holding(LocalPath))
    for key in (*local, "cluster", "model.name", "init_from", "distill.teacher"):
        value = values.get(key)
        base = cwd if key == "runs_dir" or key not in merged else merged[key].base
        if isinstance(value, list):
            values[key] = [absolute(item, base, environ) for item in value]
        elif isinstance(value, dict):
            values[key] = {name: absolute(item, base, environ) for name, item in value.items()}
        elif value is not None and (key in local or _is_local(key, value, base)):
            values[key] = absolute(value, base, environ)
    if values.get("data.source") is not None:
        base = merged["data.source"].base
        values["data.source"] = _source(values["data.source"], base, environ)


def _source(value: str, base: Path, environ: Mapping[str, str]) -> str:
    """data.source as the job has to see it, which runs in another directory."""
    name, config = name_and_config(absolute(value, base, environ))
    if not (paths.exists(name) or value.startswith(ON_DISK)):
        return value
    return name if config is None else f"{name}:{config}"


def _is_local(key: str, value: str, base: Path) -> bool:
    """Whether a cluster or model is a path here, and not a name or hub id."""
    if key == "cluster":
        return is_path(value)
    return value.startswith(ON_DISK) or value in (".", "..") or paths.exists(base / value)


# The recipe, and what contradicts itself in it


def _build(
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    file_name: str,
    mistakes: Mistakes,
    *,
    readable: bool,
) -> Recipe | None:
    """The recipe, invalid keys at their defaults; conflicts that involve none of those are reported."""
    schema = schema_of(Recipe)
    recipe, misfits = fit(schema, {"task": TASKS[0], **values})
    for key, (misfit, *_) in misfits.items():  # a path that became unfit when made absolute
        where = origins.get(key, file_name)
        mistakes.add(Problem(misfit.message, where, key, shown(values[key])), key)
    if not isinstance(recipe, Recipe) or not readable:
        return None
    for conflict in conflicts(recipe):
        if not any(mistakes.about(key) for key in conflict.fields):
            mistakes.add(_contradiction(conflict, recipe, origins, file_name))
    return recipe


def _contradiction(conflict: Conflict, recipe: Recipe, origins: Mapping[str, str], file_name: str) -> Problem:
    key = conflict.fields[0]
    value = recipe.by_key()[key]
    origin = origins.get(key, "default")
    where = file_name if origin == "default" else origin
    return Problem(conflict.message, where, key, shown(value), conflict.remedy)


def _place(problem: Problem, file_name: str) -> tuple[int, int]:
    """Order of problems: as they stand in the recipe, then the cluster profile, environment and command line."""
    where = problem.where or ""
    if where.startswith("environment"):
        return 2, 0
    if where.startswith("override"):
        return 3, 0
    _, _, line = where.rpartition(":")
    return (0 if where.startswith(file_name) else 1), int(line) if line.isdigit() else 0


def _safe_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:60] or "recipe"
