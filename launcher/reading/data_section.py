"""What the data section of a recipe says of reading: which files, how, and how much of them is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher.reading.nested import dotted_names
from launcher.reading.options import ReadOptions
from launcher.recipe.data import Data
from launcher.recipe.data_formats import EXTENSIONS, extension
from launcher.recipe.fields import Files


def read_options(data: Data) -> ReadOptions:
    """How the recipe says that files are to be read."""
    own = (data.header, data.columns, data.delimiter, data.quoting, data.format)
    return ReadOptions(*own, nested=dotted_names(data))


def options_for(path: Path, data: Data) -> ReadOptions:
    """How a file beside the run's own data is read: as the training files, in the format that its own extension names."""
    options, own = read_options(data), extension(path)
    if own not in EXTENSIONS or own in {extension(file) for file in files(data.train)}:
        return options
    return replace(options, format=None, delimiter=None, quoting=None)


def files(value: Files | None) -> tuple[Path, ...]:
    """The file or files of a data.train, data.validation or data.test as paths."""
    if value is None:
        return ()
    return tuple(Path(name) for name in ((value,) if isinstance(value, str) else value))


def cut_fractions(data: Data) -> tuple[float, float, float] | None:
    """Shares of the training data for train, validation and test, or None where validation data are given."""
    local = data.source is None
    if data.folds is not None:
        return (1 - 1 / data.folds, 1 / data.folds, 0.0)
    if (data.validation if local else data.validation_split) is not None:
        return None
    if data.split is None:
        has_test = (data.test if local else data.test_split) is not None
        return (0.85, 0.15, 0.0) if has_test else (0.7, 0.15, 0.15)
    return (data.split[0], data.split[1], data.split[2] if len(data.split) == 3 else 0.0)
