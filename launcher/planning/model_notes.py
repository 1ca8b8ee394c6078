"""What the small files of a model that is here say of how it is used: where texts are cut, and what is doubtful."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from launcher import paths, tasks
from launcher.planning.model_config import cached_model
from launcher.planning.model_files import beginning, small_json
from launcher.recipe.recipe import Recipe

ADDED = re.compile(r'"added_tokens":\s*')
"""In a tokenizer.json it stands before the vocabulary, which may be large."""


def text_length(recipe: Recipe) -> int | None:
    """Tokens that texts are cut to by the model's own files; None where they don't say it, or aren't here."""
    read = partial(_read, _directory(recipe))
    said = read("tokenizer_config.json")
    said = said if isinstance(said, dict) else {}
    length = tasks.of(recipe).text_length(read) or said.get("model_max_length", said.get("max_len"))
    return length if isinstance(length, int) and length > 0 else None


def model_notes(recipe: Recipe, rows: int | None) -> Iterator[str]:
    """What is doubtful about the model of a recipe, whose embeddings have so many rows; None where nobody knows that."""
    directory = _directory(recipe)
    added = _added_tokens(directory)
    beyond = {token: number for token, number in added.items() if rows is not None and number >= rows}
    if beyond:
        token, number = max(beyond.items(), key=lambda item: item[1])
        yield (
            f"{recipe.model.name}: the model's embeddings have {rows} rows, and its tokenizer knows {len(beyond)} tokens "
            f"beyond them, such as {token!r} ({number}): texts with one are refused on the node"
        )
    for doubt in tasks.of(recipe).doubts_of_model(partial(_read, directory)):
        yield f"{recipe.model.name}: {doubt}"


def _directory(recipe: Recipe) -> Path | None:
    """Where the model's files are, or would be; None where it is made from nothing."""
    name = recipe.model.name
    if name is None or paths.is_dir(name):
        return None if name is None else Path(name)
    return cached_model(name, recipe.model.revision or "main")


def _added_tokens(directory: Path | None) -> dict[str, int]:
    """The tokens that a tokenizer knows beside its vocabulary, special ones among them."""
    listed: Any = _read(directory, "added_tokens.json")
    start = "" if directory is None else beginning(directory / "tokenizer.json")
    if (found := ADDED.search(start)) is not None:
        try:
            entries, _ = json.JSONDecoder().raw_decode(start, found.end())
            return {str(entry["content"]): int(entry["id"]) for entry in entries}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
    if not isinstance(listed, dict):
        return {}
    return {token: number for token, number in listed.items() if isinstance(number, int)}


def _read(directory: Path | None, file: str) -> Any:
    """What a small JSON file of the model holds; None where there is none."""
    return None if directory is None else small_json(directory / file)
