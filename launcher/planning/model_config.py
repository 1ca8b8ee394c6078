"""The config.json of a model, in its directory or in the local hub cache."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from launcher import paths
from launcher.errors import UserError

_CONFIG_LIMIT = 1 << 20


def find_config(name: str, cache_dir: Path | None = None, revision: str = "main") -> dict[str, object] | None:
    """The parsed config.json of a model directory or of a hub id in the local hub cache, or None.

    The cache is `cache_dir`, else what the environment says (HF_HUB_CACHE, HF_HOME), else the user's. Raises
    UserError for a file that isn't a JSON object.
    """
    directory = Path(name) if paths.is_dir(name) else cached_model(name, revision, cache_dir)
    if directory is None or not paths.is_file(path := directory / "config.json"):
        return None
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise ValueError("it is larger than 1 MB")
        parsed = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"can't be read as JSON: {error}", where=str(path)) from None
    if not isinstance(parsed, dict):
        raise UserError("must hold a JSON object", where=str(path))
    return parsed


def cached_model(name: str, revision: str, cache_dir: Path | None = None) -> Path | None:
    """Where a model of the hub is, or would be, in the local cache; None for what can't be an id of the hub."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in f"{name}/{revision}":
        return None
    folder = (cache_dir or hub_cache()) / ("models--" + name.replace("/", "--"))
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if paths.is_file(reference) else revision
    return folder / "snapshots" / commit


def hub_cache() -> Path:
    """Where huggingface_hub keeps its cache, by the same rules."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    return _home() / "hub"


def data_cache() -> Path:
    """Where the library `datasets` keeps what it has prepared, by the same rules."""
    given = os.environ.get("HF_DATASETS_CACHE")
    return Path(given).expanduser() if given else _home() / "datasets"


def _home() -> Path:
    fallback = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or fallback).expanduser()
