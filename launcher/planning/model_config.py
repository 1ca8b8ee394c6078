"""The config.json of a model, in its directory or in the local hub cache."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from launcher import paths
from launcher.errors import Problem, UserError

_CONFIG_LIMIT = 1 << 20


def find_config(name: str, cache_dir: Path | None = None, revision: str = "main") -> dict[str, object] | None:
    """The parsed config.json of a model directory or of a hub id in the local hub cache, or None.

    The cache is `cache_dir`, else what the environment says (HF_HUB_CACHE, HF_HOME), else the user's. Raises
    UserError for a file that isn't a JSON object.
    """
    path = Path(name) / "config.json" if paths.is_dir(name) else _cached_config(name, cache_dir, revision)
    if path is None or not paths.is_file(path):
        return None
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise ValueError("it is larger than 1 MB")
        parsed = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(Problem(f"can't be read as JSON: {error}", where=str(path))) from None
    if not isinstance(parsed, dict):
        raise UserError(Problem("must hold a JSON object", where=str(path)))
    return parsed


def _cached_config(name: str, cache_dir: Path | None, revision: str) -> Path | None:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in f"{name}/{revision}":
        return None
    folder = (cache_dir or _hub_cache()) / ("models--" + name.replace("/", "--"))
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if paths.is_file(reference) else revision
    return folder / "snapshots" / commit / "config.json"


def _hub_cache() -> Path:
    """Where huggingface_hub keeps its cache, by the same rules."""
    environment = os.environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return Path(environment[variable]).expanduser()
    fallback = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return (Path(environment.get("HF_HOME") or fallback) / "hub").expanduser()
