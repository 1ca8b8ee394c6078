"""Where rows come from on a node: local files, or a data set of the hub; both are read the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from launcher import tasks
from launcher.data_source import name_and_config
from launcher.errors import RunFailed, UserError, choices
from launcher.reading.cells import plain
from launcher.reading.class_names import with_names
from launcher.reading.cleaning import kept
from launcher.reading.data_section import files, read_options
from launcher.reading.files import content_hash, declared_classes, labelled_rows, left_out, peek, reading_of
from launcher.reading.messages import left_out_rows, where
from launcher.reading.nested import add_reached, dotted_names
from launcher.reading.options import ReadOptions
from launcher.reading.split_reading import lacks_columns
from launcher.recipe.data import Clean
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row, Value
from launcher.train.compat.dataset_fingerprint import fingerprint
from launcher.train.reading.hub_loading import load_hub

WITHOUT = {
    "validation": "; data.validation_split=null takes a part of the training split",
    "test": "; data.test_split=null does without",
}
"""What can be done where a data set lacks a split."""


class Source(Protocol):
    """The rows of one split as they were given, before any is taken out."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Every row with the name of its file or split; the same each time."""

    def identity(self) -> list[str]:
        """What these rows are, content and all; equal identities mean equal rows."""

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in their order, where the data set declares them."""

    def may_be_unlabelled(self) -> bool:
        """Whether -1 in every row means that there are no labels, as in the test splits of the hub."""

    def notes(self) -> list[str]:
        """What is worth saying of how they were read."""


@dataclass(frozen=True)
class LocalSource:
    """One or several files, one after another."""

    paths: tuple[Path, ...]
    options: ReadOptions
    label: str | None
    """The label column, where there is just one."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        with _failing_as_data():
            for path in self.paths:
                name = str(path)
                for row in labelled_rows(path, self.options, self.label):
                    yield name, row

    def identity(self) -> list[str]:
        with _failing_as_data():
            forms = [reading_of(path, self.options) for path in self.paths]
            contents = [content_hash(path) for path in self.paths]
        names = self.class_names()
        return [repr(self.options), *forms, *contents, *([] if names is None else [repr(names)])]

    def class_names(self) -> tuple[str, ...] | None:
        with _failing_as_data():
            return None if self.label is None else declared_classes(self.paths, self.options, self.label)

    def may_be_unlabelled(self) -> bool:
        return False

    def notes(self) -> list[str]:
        with _failing_as_data():
            counts = {path: left_out(path, self.options, self.label) for path in self.paths}
        return [left_out_rows(path, count) for path, count in counts.items() if count]


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
    unasked: str | None = None
    """The configuration that the library has chosen, as it does where just one is cached."""

    def rows(self) -> Iterator[tuple[str, Row]]:
        position, names = 0, self.class_names()
        for batch in self.dataset.iter(batch_size=1000):
            for values in zip(*batch.values(), strict=True):
                position += 1
                row = add_reached(dict(zip(batch, map(plain, values), strict=True)), self.nested)
                if names is not None and self.label is not None:
                    row[self.label] = with_names(row.get(self.label), names)
                yield self.name, Row(row, position)

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
        said = []
        if self.unlabelled:
            said.append(left_out_rows(self.name, self.unlabelled))
        if self.unasked is not None:
            said.append(
                f"{self.name}: its configuration {self.unasked} is read, which data.source doesn't name"
            )
        return said

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
    label = data.label if isinstance(data.label, str) else None
    sources: dict[str, Source] = {}
    with _failing_as_data():
        for split, paths in given.items():
            for path in paths:
                seen = peek(path, read_options(data), rows=100)
                problem = lacks_columns(recipe, path, seen, split)
                if problem is not None:
                    raise UserError(problem)
            if paths:
                sources[split] = LocalSource(paths, read_options(data), label)
    return sources


def _open_hub(recipe: Recipe) -> dict[str, Source]:
    data, spec = recipe.data, tasks.of(recipe)
    splits = load_hub(str(data.source))
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
            unasked=_unasked(str(data.source), splits[name]) if split == "train" else None,
        )
    return sources


def _unasked(source: str, dataset: Any) -> str | None:
    """The configuration of the hub's that is read although none was asked for; that of data without any is `default`."""
    path, config = name_and_config(source)
    name: str | None = dataset.info.config_name
    return None if name == "default" or config is not None or Path(path).exists() else name


def _labelled(dataset: Any, label: str | None) -> Any:
    """The rows that have a class, where the data set declares them and only some have none, as in SNLI."""
    owner, *steps = [label] if label in dataset.features else str(label).split(".")
    feature = dataset.features.get(owner)
    for step in steps:
        feature = feature.get(step) if isinstance(feature, Mapping) else None
    if getattr(feature, "names", None) is None:
        return dataset
    import pyarrow.compute

    numbers = dataset.select_columns([owner]).with_format("arrow")[:][owner]
    for step in steps:
        numbers = pyarrow.compute.struct_field(numbers, step)
    known = pyarrow.compute.greater_equal(numbers, 0).fill_null(False).to_numpy()
    return dataset.select(known.nonzero()[0]) if known.any() and not known.all() else dataset


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
