"""Loads data sets of the hub, and directories in the form of one, by the library `datasets`; says what helps where it can't."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.data_source import name_and_config
from launcher.errors import RunFailed, choices, first_line
from launcher.planning.model_files import NO_DATA, fetching_remedy
from launcher.train.hub import wait_for_hub

CONFIGS = re.compile(r"[Aa]vailable(?: configs)?: \[(.*?)\]")
"""How the library lists the configurations of a data set."""


def load_hub(source: str) -> Any:
    """Every split of a hub data set, from the local cache where it is there, or of a directory."""
    import datasets

    path, config = name_and_config(source)
    with _without_progress_bars(datasets):
        try:
            with _offline(datasets):
                return _loaded(datasets, path, config)
        except Exception:  # noqa: BLE001  (not cached: the library says so in many ways; the next attempt speaks)
            pass
        try:
            if not Path(path).exists():
                wait_for_hub()
            return _loaded(datasets, path, config)
        except Exception as error:
            raise _not_loaded(source, error) from error


def _loaded(datasets: Any, path: str, config: str | None) -> Any:
    """The splits of a data set, those of a directory that `save_to_disk` wrote among them."""
    if (Path(path) / "dataset_dict.json").is_file():
        return datasets.load_from_disk(path)
    if (Path(path) / "state.json").is_file():
        return {"train": datasets.load_from_disk(path)}
    return datasets.load_dataset(path, config)


def _not_loaded(source: str, error: BaseException) -> RunFailed:
    """The failure of a run whose data set can't be loaded, with what helps as far as it can be told."""
    path, config = name_and_config(source)
    in_directory = Path(path).exists()
    if str(error).startswith("An error occurred while generating") and error.__cause__ is not None:
        error = error.__cause__
    text, cause = str(error), first_line(error)
    remedy = f"check data.source (id or id:config); or {fetching_remedy(os.environ, NO_DATA)}"
    if in_directory:
        remedy = "or name its files: data.train=FILE data.validation=FILE"
    if (listed := CONFIGS.search(text)) is not None:
        names = re.findall(r"'([^']+)'", listed[1])
        cause = (
            "there are several configurations" if config is None else f"there is no configuration {config}"
        )
        remedy = f"data.source={path}:NAME; {choices(config or '', names)}"
    elif "scripts are no longer supported" in text:
        remedy = (
            f"the hub keeps it as parquet, too: hf download {path} --repo-type dataset --revision refs/convert/parquet"
            " --local-dir DIR; then data.source=DIR/CONFIG"
        )
    elif "gated" in text or "cannot be accessed" in text:
        remedy = (
            "check data.source (id or id:config); where it isn't open to all, ask on its page,"
            " then hf auth login, or set HF_TOKEN"
        )
    elif "Compression type zstd" in text:
        remedy = f"pip install zstandard; {remedy}"
    return RunFailed("data", f"{source} can't be loaded: {cause}", remedy)


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """The library's own switch for using nothing but its cache; it has no argument for it."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _without_progress_bars(datasets: Any) -> Iterator[None]:
    level, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
