"""`launch recipes`: what there is to train, and where each value of a recipe comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from launcher.cli import options

FEW = 6
"""Fewer keys than these are explained in full."""


@click.command("recipes")
@click.argument("words", nargs=-1, metavar="[show NAME [key=value ...] | explain KEY | schema [profile]]")
@options.as_json
@options.examples("""
    launch recipes
    launch recipes show roberta-cls
    launch recipes show roberta-cls train.lr=1e-5 --json
    launch recipes explain train.warmup
    launch recipes schema > recipe.schema.json
""")
def recipes_command(words: tuple[str, ...], as_json: bool) -> None:
    """List the recipes; show one resolved; explain a key; print the JSON Schema of recipes or profiles.

    With a value stands its origin: a line of a file, `cluster`, `environment`, `override` or `default`. A part of a key's
    name explains all that have it.
    """
    match words:
        case ():
            _list(as_json)
        case ("show", name, *overrides):
            _show(name if name.startswith("recipe=") else f"recipe={name}", overrides, as_json)
        case ("explain", key):
            _explain(key, as_json)
        case ("schema",) | ("schema", "profile"):
            _schema(profile=len(words) > 1)
        case _:
            expected = "expected nothing, or: show NAME [key=value ...], explain KEY, schema, schema profile"
            raise click.UsageError(expected, click.get_current_context())


def _list(as_json: bool) -> None:
    from launcher.cli.output import show, show_json, table
    from launcher.loading import resolve as loading

    recipes = loading.list_recipes(Path.cwd())
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
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(_plain(entry) for entry in value) + "]"
    return str(value)


def _explain(word: str, as_json: bool) -> None:
    """The key of that name, or all keys with this part in their names."""
    from launcher.cli.output import show, show_json
    from launcher.loading.schema import described

    found = described(word)
    if as_json:
        show_json(found)
    else:
        show("\n\n".join(map(_explained, found)) if len(found) < FEW else "\n".join(map(_in_a_line, found)))


def _explained(key: Mapping[str, str]) -> str:
    decides = key["decides"] or "nothing"
    return (
        f"{key['key']}   ({key['of']})\n  {key['meaning']}\n  takes    {key['takes']}"
        f"\n  default  {key['default']}\n  decides  {decides}"
    )


def _in_a_line(key: Mapping[str, str]) -> str:
    return f"{key['key']:<34} {key['meaning']}"


def _schema(*, profile: bool) -> None:
    from launcher.cli.output import show_json
    from launcher.loading.json_schema import json_schema
    from launcher.recipe.cluster import Cluster
    from launcher.recipe.recipe import Recipe

    show_json(json_schema(Cluster if profile else Recipe))
