"""Where rows come from on a node: local files, or a data set of the hub; both are read the same way."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
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
from launcher.recipe.data_source import name_and_config
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row, Value
from launcher.train.compat.dataset_fingerprint import fingerprint
from launcher.train.hub import wait_for_hub

WITHOUT = {
    "validation": "; data.validation_split=null takes a part of the training split",
    "test": "; data.test_split=null does without",
}
"""What can be done where a data set lacks a split."""
CONFIGS = re.compile(r"[Aa]vailable(?: configs)?: \[(.*?)\]")
"""How the library lists the configurations of a data set."""


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

    def notes(self) -> list[str]:
        """What is worth saying of how they were read."""


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

    def notes(self) -> list[str]:
        return []


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
    unlabelled: int = 0
    """Rows that were left out since they have no label."""

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
        feature = self.dataset.features
        for part in self._steps():
            feature = _within(feature).get(part) if isinstance(_within(feature), Mapping) else None
        names = getattr(_within(feature), "names", None)
        return tuple(names) if names else None

    def _steps(self) -> list[str]:
        """The names by which the label is reached."""
        if self.label is None or self.label in self.dataset.features:
            return [str(self.label)]
        return self.label.split(".")

    def notes(self) -> list[str]:
        return (
            [f"{self.name}: {self.unlabelled} rows without a label are left out"] if self.unlabelled else []
        )

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

    def notes(self) -> list[str]:
        return self.source.notes()


def _within(feature: Any) -> Any:
    """What a list holds, of however many levels."""
    while hasattr(feature, "feature") or isinstance(feature, list):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return feature


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
            raise RunFailed("data", text, choices(name, list(splits)) + WITHOUT.get(split, ""))
        names = splits[name].column_names
        wanted_here = [*columns, *(of_training if split == "train" else [])]
        wanted_here += [column for column in spec.optional_columns if column in names]
        held = {column: column if column in names else column.partition(".")[0] for column in wanted_here}
        missing = [column for column, owner in held.items() if owner not in names]
        if missing:
            text = f"{data.source} [{name}] has no column {', '.join(missing)}"
            raise RunFailed("data", text, choices(missing[0], splits[name].column_names))
        chosen = splits[name].select_columns(list(dict.fromkeys(held.values())))
        known = _labelled(chosen, label)
        sources[split] = HubSource(
            f"{data.source} [{name}]",
            known,
            label,
            in_directory=Path(name_and_config(str(data.source))[0]).exists(),
            nested=dotted_names(data),
            unlabelled=len(chosen) - len(known),
        )
    return sources


def _labelled(dataset: Any, label: str | None) -> Any:
    """The rows that have a class, where the data set declares them and only some have none, as in SNLI."""
    if getattr(dataset.features.get(label), "names", None) is None:
        return dataset
    import pyarrow.compute

    numbers = dataset.select_columns([label]).with_format("arrow")[:][label]
    known = pyarrow.compute.greater_equal(numbers, 0).fill_null(False).to_numpy()
    return dataset.select(known.nonzero()[0]) if known.any() and not known.all() else dataset


def _load_hub(source: str) -> Any:
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
    text = str(error).strip()
    cause = (text.splitlines() or [type(error).__name__])[0]
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
