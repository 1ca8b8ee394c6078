"""`launch recipes`: what there is to train, and where each value of a recipe comes from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from launcher.cli import options


@click.command("recipes")
@click.argument("words", nargs=-1, metavar="[show NAME [key=value ...]]")
@options.as_json
@options.examples("""
    launch recipes
    launch recipes show roberta-cls
    launch recipes show roberta-cls train.lr=1e-5 --json
""")
def recipes_command(words: tuple[str, ...], as_json: bool) -> None:
    """List the recipes, or show one resolved, each value with its origin.

    The origin is a line of a file, `cluster`, `environment`, `override` or `default`.
    """
    if not words:
        _list(as_json)
    elif words[0] == "show" and len(words) > 1:
        name, *overrides = words[1:]
        _show(name if name.startswith("recipe=") else f"recipe={name}", overrides, as_json)
    else:
        raise click.UsageError("expected nothing, or: show NAME [key=value ...]", click.get_current_context())


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
