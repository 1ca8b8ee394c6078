"""`launch recipes`: what there is to train, and where each value of a recipe comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.loading.schema import KeyHelp
    from launcher.recipe.recipe import Recipe

FEW = 6
"""Fewer keys than these are explained in full."""


@click.command("recipes")
@click.argument(
    "words", nargs=-1, metavar="[show NAME [key=value ...] | explain KEY [RECIPE|RUN] | schema [profile]]"
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch recipes
    launch recipes show roberta-cls
    launch recipes show roberta-cls train.lr=1e-5 --json
    launch recipes explain train.warmup
    launch recipes explain train.lr smoke-20260131
    launch recipes schema > recipe.schema.json
""")
def recipes_command(words: tuple[str, ...], runs_dir: Path | None, as_json: bool) -> None:
    """List the recipes; show one resolved; explain a key; print the JSON Schema of recipes or profiles.

    show prints each value with its origin: a line of a file, `cluster`, `environment`, `override` or `default`. explain says what
    a key means, and which recipes set it or what a recipe or run has; a part of a name explains every key that contains it.
    """
    match words:
        case ():
            _list(as_json)
        case ("show", name, *overrides):
            _show(name if name.startswith("recipe=") else f"recipe={name}", overrides, as_json)
        case ("explain", key):
            _explain(key, _in_recipes(key), as_json)
        case ("explain", key, reference):
            _explain(key, _in_one(key, reference, runs_dir), as_json)
        case ("schema",) | ("schema", "profile"):
            _schema(profile=len(words) > 1)
        case _:
            expected = "expected nothing, or: show NAME [key=value ...], explain KEY [RECIPE|RUN], schema"
            raise options.misused(expected)


def _list(as_json: bool) -> None:
    from launcher.cli.output import show, show_json, table
    from launcher.loading.named_files import list_recipes

    recipes = list_recipes(Path.cwd())
    if as_json:
        show_json(
            [
                {"name": entry.name, "path": str(entry.path), "description": entry.description}
                for entry in recipes
            ]
        )
    else:
        show(table([[entry.name, entry.description or ""] for entry in recipes]))


def _show(recipe: str, overrides: list[str], as_json: bool) -> None:
    from launcher.cli.output import show, show_json, table
    from launcher.loading import resolve as loading
    from launcher.recipe.recipe import leaf_values

    loaded = loading.load([recipe, *overrides], environ=os.environ, cwd=Path.cwd())
    given = list(leaf_values(loaded.recipe.tree()))
    origins = {key: str(loaded.origins.get(key, "default")) for key, _ in given}
    if as_json:
        values = {key: {"value": value, "origin": origins[key]} for key, value in given}
        show_json({"name": loaded.name, "path": str(loaded.path), "values": values})
    else:
        show(table([[key, _plain(value), origins[key]] for key, value in given]))


def _plain(value: object) -> str:
    """As it would be written in an override."""
    from launcher.loading.schema import shown

    return shown(value) or "null"


def _explain(word: str, places: list[tuple[str, str]], as_json: bool) -> None:
    """The key of that name with the places that give it a value, or all keys with this part in their names."""
    from launcher.cli.output import show, show_json
    from launcher.loading.schema import help_on

    found = help_on(word)
    if as_json:
        given = [{"value": value, "origin": origin} for value, origin in places]
        show_json([vars(each) | ({"set": given} if each.key == word else {}) for each in found])
    elif len(found) < FEW:
        show("\n\n".join(_explained(each, places if each.key == word else []) for each in found))
    else:
        show("\n".join(f"{each.key:<34} {each.meaning}" for each in found))


def _explained(found: KeyHelp, places: list[tuple[str, str]]) -> str:
    from launcher.cli.output import table

    told = (
        f"{found.key}   ({found.of})\n  {found.meaning}\n  takes    {found.takes}"
        f"\n  default  {found.default}\n  decides  {found.decides or 'nothing'}"
    )
    return told + (f"\n  set\n{table(places, indent='    ')}" if places else "")


def _in_recipes(key: str) -> list[tuple[str, str]]:
    """Value and place of a key in each recipe that can be called by name and sets it."""
    from launcher.errors import UserError
    from launcher.loading import resolve as loading
    from launcher.loading.named_files import list_recipes

    found = []
    for entry in list_recipes(Path.cwd()):
        with suppress(UserError):  # such a recipe is told of when it is used
            loaded = loading.load([f"recipe={entry.path}"], environ={}, cwd=Path.cwd())
            if key in loaded.origins and loaded.origins[key] != "default":
                found.append(_value_and_origin(key, loaded.recipe, loaded.origins))
    return found


def _in_one(key: str, reference: str, runs_dir: Path | None) -> list[tuple[str, str]]:
    """The same of one recipe, as it would be trained now, or of a run. Raises UserError where there is neither."""
    from launcher.loading import resolve as loading
    from launcher.loading.named_files import names_of
    from launcher.runs.finding import find
    from launcher.runs.planned_recipe import planned_recipe
    from launcher.runs.provenance import read_origins

    _refuse_part(key)
    if reference in names_of("recipes", Path.cwd()) or reference.endswith((".yaml", ".yml")):
        loaded = loading.load([f"recipe={reference}"], environ=os.environ, cwd=Path.cwd())
        return [_value_and_origin(key, loaded.recipe, loaded.origins)]
    run = find(reference, options.resolve_runs_dir(runs_dir))
    return [_value_and_origin(key, planned_recipe(run), read_origins(run))]


def _refuse_part(key: str) -> None:
    """Raises UserError for what is no key of a recipe, whose value could be told."""
    from launcher.errors import UserError
    from launcher.loading.schema import schema_of, unknown_key
    from launcher.recipe.recipe import Recipe

    schema = schema_of(Recipe)
    if key not in schema.leaves:
        message, remedy = unknown_key(key, schema)
        raise UserError(message, field=key, remedy=remedy)


def _value_and_origin(key: str, recipe: Recipe, origins: Mapping[str, str]) -> tuple[str, str]:
    return _plain(recipe.by_key()[key]), str(origins.get(key, "default"))


def _schema(*, profile: bool) -> None:
    from launcher.cli.output import show_json
    from launcher.loading.json_schema import json_schema
    from launcher.recipe.cluster import Cluster
    from launcher.recipe.recipe import Recipe

    show_json(json_schema(Cluster if profile else Recipe))
