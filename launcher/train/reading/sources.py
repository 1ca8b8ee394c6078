"""Where rows come from on a node: local files, or a data set of the hub; both are read the same way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from launcher import tasks
from launcher.errors import RunFailed, UserError, choices
from launcher.planning.model_files import NO_DATA, fetching_remedy
from launcher.reading.cells import plain
from launcher.reading.cleaning import kept
from launcher.reading.data_section import files, read_options
from launcher.reading.files import content_hash, peek, read_rows, reading_of
from launcher.reading.messages import where
from launcher.reading.nested import add_reached, dotted_names
from launcher.reading.options import ReadOptions
from launcher.reading.split_reading import lacks_columns
from launcher.recipe.data import Clean
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row, Value
from launcher.train.compat.dataset_fingerprint import fingerprint
from launcher.train.hub import wait_for_hub


class Source(Protocol):
    """The rows of one split as they were given, before any is taken out."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Every row with the name of its file or split; the same each time."""

    def identity(self) -> list[str]:
        """What these rows are, content and all; equal identities mean equal rows."""

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes where the data set declares them; labels are then numbers, -1 for none."""

    def may_be_unlabelled(self) -> bool:
        """Whether -1 in every row means that there are no labels, as in the test splits of the hub."""


@dataclass(frozen=True)
class LocalSource:
    """One or several files, one after another."""

    paths: tuple[Path, ...]
    options: ReadOptions

    def rows(self) -> Iterator[tuple[str, Row]]:
        with _failing_as_data():
            for path in self.paths:
                name = str(path)
                for row in read_rows(path, self.options):
                    yield name, row

    def identity(self) -> list[str]:
        with _failing_as_data():
            forms = [reading_of(path, self.options) for path in self.paths]
            return [repr(self.options), *forms, *(content_hash(path) for path in self.paths)]

    def class_names(self) -> None:
        return None

    def may_be_unlabelled(self) -> bool:
        return False


@dataclass(frozen=True)
class HubSource:
    """One split of a data set that the `datasets` library has loaded."""

    name: str
    dataset: Any
    label: str | None
    """The label column, where there is just one."""
    in_directory: bool = False
    """Whether it was read from a directory of files."""
    nested: tuple[str, ...] = ()
    """Dotted names of columns that may lie within objects."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        position = 0
        for batch in self.dataset.iter(batch_size=1000):
            for values in zip(*batch.values(), strict=True):
                position += 1
                row = dict(zip(batch, map(plain, values), strict=True))
                yield self.name, Row(add_reached(row, self.nested), position)

    def identity(self) -> list[str]:
        if not self.in_directory and (known := fingerprint(self.dataset)) is not None:
            return [self.name, known]
        # The library would name it after the paths and the times of its files.
        digest = hashlib.sha256(repr(self.dataset.features).encode())
        for batch in self.dataset.iter(batch_size=1000):
            digest.update(repr(batch).encode())
        return [digest.hexdigest()]

    def class_names(self) -> tuple[str, ...] | None:
        feature = self.dataset.features.get(self.label)
        names = getattr(getattr(feature, "feature", feature), "names", None)
        return tuple(names) if names else None

    def may_be_unlabelled(self) -> bool:
        return True


@dataclass(frozen=True)
class Cleaned:
    """The rows of another source as data.clean has them."""

    source: Source
    recipe: Recipe

    def rows(self) -> Iterator[tuple[str, Row]]:
        return kept(self.recipe, self.source.rows())

    def identity(self) -> list[str]:
        return [*self.source.identity(), self.recipe.data.clean.model_dump_json()]

    def class_names(self) -> tuple[str, ...] | None:
        return self.source.class_names()

    def may_be_unlabelled(self) -> bool:
        return self.source.may_be_unlabelled()


def open_sources(recipe: Recipe) -> dict[str, Source]:
    """The splits that the recipe names, in the order train, validation, test.

    Raises RunFailed of class `data` where files, splits or columns are missing or the hub can't be reached.
    """
    found = _open_hub(recipe) if recipe.data.source is not None else _open_local(recipe)
    if recipe.data.clean == Clean():
        return found
    return {split: Cleaned(source, recipe) for split, source in found.items()}


def _open_local(recipe: Recipe) -> dict[str, Source]:
    data = recipe.data
    given = {"train": files(data.train), "validation": files(data.validation), "test": files(data.test)}
    sources: dict[str, Source] = {}
    with _failing_as_data():
        for split, paths in given.items():
            for path in paths:
                seen = peek(path, read_options(data), rows=100)
                problem = lacks_columns(recipe, path, seen, split)
                if problem is not None:
                    raise UserError(problem)
            if paths:
                sources[split] = LocalSource(paths, read_options(data))
    return sources


def _open_hub(recipe: Recipe) -> dict[str, Source]:
    data, spec = recipe.data, tasks.of(recipe)
    splits = _load_hub(str(data.source))
    wanted = {"train": data.train_split, "validation": data.validation_split, "test": data.test_split}
    columns = list(dict.fromkeys((*spec.given_texts, *spec.choice_columns, *spec.label_columns)))
    of_training = [*([] if data.group is None else [data.group]), *spec.negative_columns]
    label = data.label if isinstance(data.label, str) else None
    sources: dict[str, Source] = {}
    for split, name in wanted.items():
        if name is None:
            continue
        if name not in splits:
            text = f"data.{split}_split={name}: {data.source} has no such split"
            raise RunFailed("data", text, choices(name, list(splits)))
        names = splits[name].column_names
        wanted_here = [*columns, *(of_training if split == "train" else [])]
        wanted_here += [column for column in spec.optional_columns if column in names]
        held = {column: column if column in names else column.partition(".")[0] for column in wanted_here}
        missing = [column for column, owner in held.items() if owner not in names]
        if missing:
            text = f"{data.source} [{name}] has no column {', '.join(missing)}"
            raise RunFailed("data", text, choices(missing[0], splits[name].column_names))
        chosen = splits[name].select_columns(list(dict.fromkeys(held.values())))
        in_directory = Path(str(data.source)).exists()
        sources[split] = HubSource(f"{data.source} [{name}]", chosen, label, in_directory, dotted_names(data))
    return sources


def _load_hub(source: str) -> Any:
    """Every split of a hub data set, from the local cache where it is there."""
    import datasets

    path, config = (source, None) if Path(source).exists() else _name_and_config(source)
    with _without_progress_bars(datasets):
        try:
            with _offline(datasets):
                return datasets.load_dataset(path, config)
        except Exception:  # noqa: BLE001  (not cached: the library says so in many ways; the next attempt speaks)
            pass
        try:
            if not Path(source).exists():
                wait_for_hub()
            return datasets.load_dataset(path, config)
        except Exception as error:
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            remedy = f"check data.source (id or id:config); or {fetching_remedy(os.environ, NO_DATA)}"
            raise RunFailed("data", f"{source} can't be loaded: {cause}", remedy) from error


def _name_and_config(source: str) -> tuple[str, str | None]:
    name, colon, config = source.partition(":")
    return name, config if colon else None


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


@contextmanager
def _failing_as_data() -> Iterator[None]:
    """On a node a mistake in a data file is a failure of the run."""
    try:
        yield
    except UserError as error:
        raise RunFailed("data", str(error)) from None


def place(name: str, row: Row) -> str:
    """Where a row stands, as messages name it."""
    return where(Path(name), row.position)


def text_of(value: Value, name: str, row: Row) -> str:
    """A cell as text; RunFailed of class `data` for a list or an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        text = f"{place(name, row)}: the text is a list or object"
        raise RunFailed("data", text, "name a column of texts in data.text")
    return "" if value is None else str(value)
