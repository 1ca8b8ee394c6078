"""Checks local data against the recipe before anything is queued, and says how much of it there is.

Small files are read whole; of larger ones the first rows, and their lines are counted. What stands deeper in a
large file, or on the hub, only a node can see.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import paths, tasks
from launcher.data_source import name_and_config
from launcher.errors import Problem, UserError
from launcher.reading import missing_columns
from launcher.reading.corpus import check_corpus
from launcher.reading.data_section import cut_fractions, files, read_options
from launcher.reading.equal_files import by_content
from launcher.reading.files import split_sizes
from launcher.reading.header_lines import header_among_rows
from launcher.reading.label_check import known_classes, label_count, label_sets, nothing_to_learn
from launcher.reading.messages import left_out_rows
from launcher.reading.opening import missing_files
from launcher.reading.split_reading import Split, with_field
from launcher.recipe.data import Augment, Data
from launcher.recipe.recipe import Recipe

FORMATS_OF_DATASETS = (
    "csv",
    "json",
    "pandas",
    "parquet",
    "arrow",
    "text",
    "sql",
    "xml",
    "imagefolder",
    "audiofolder",
)
"""Names that the library `datasets` takes for a way to read files."""
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
"""What the hub calls data sets."""


@dataclass(frozen=True)
class DataFacts:
    """What is known about the data without a node; None where it isn't."""

    train_examples: int | None = None
    """Training examples, after data.split and data.limit."""
    validation_examples: int | None = None
    test_examples: int | None = None
    columns: tuple[str, ...] = ()
    """Columns of the first training file."""
    labels: int | None = None
    """Outputs of the head: classes or tags; 1 for a score, 2 for the two ends of an answer; None where it isn't known."""
    mean_chars: float | None = None
    """Mean length of a text, or of both texts of a pair, in characters of English with as many tokens, over the rows read."""
    notes: tuple[str, ...] = ()
    """Sentences worth showing with the plan."""


def check_data(recipe: Recipe) -> DataFacts:
    """What local files hold; UserError with every mistake found in them or between them and the recipe."""
    problems = [
        *_no_data_set(recipe.data.source),
        *_contradictions(recipe.data),
        *_missing_helpers(recipe.data.augment),
        *_corpus(recipe),
    ]
    extra = [Split.of_file(name, Path(path), recipe, problems) for name, path in recipe.eval.extra.items()]
    if recipe.data.train is None or recipe.data.source is not None:
        return _done(DataFacts(), problems)
    train = Split.read("train", recipe, problems)
    validation = Split.read("validation", recipe, problems)
    test = Split.read("test", recipe, problems)
    problems.extend(label_sets(recipe, train, (validation, test, *extra)))
    if not problems:
        problems.extend(nothing_to_learn(recipe, train))
    sizes = _sizes(recipe, train, validation, test, problems)
    facts = DataFacts(
        *sizes,
        columns=train.columns,
        labels=label_count(recipe, train),
        mean_chars=train.characters / train.rows if train.rows else None,
        notes=tuple(_notes(recipe, train, validation, test)),
    )
    return _done(facts, problems)


def _no_data_set(source: str | None) -> Iterator[Problem]:
    """What data.source names instead of a data set of the hub or a directory."""
    if source is None:
        return
    name, _ = name_and_config(source)
    remedy = "data.train=FILE, data.validation=FILE"
    if paths.is_dir(name) and not any(paths.is_file(path) for path in Path(name).rglob("*")):
        yield Problem("holds no files", field="data.source", value=source, remedy="check the path")
    elif paths.is_file(name):
        yield Problem("is a file", field="data.source", value=source, remedy=f"data.train={name}")
    elif Path(name).is_absolute() and not paths.exists(name):
        yield Problem("no such directory", field="data.source", value=source, remedy="check the path")
    elif name in FORMATS_OF_DATASETS and not paths.exists(name):
        # The library would read whatever lies in the working directory.
        yield Problem("is a format, not a data set", field="data.source", value=source, remedy=remedy)
    elif not HUB_ID.fullmatch(name) and not paths.exists(name):
        text = "is neither a directory here nor an id of the hub"
        remedy = f"give an id such as org/name or org/name:config; for files {remedy}"
        yield Problem(text, field="data.source", value=source, remedy=remedy)


def _contradictions(data: Data) -> Iterator[Problem]:
    if data.split is None:
        return
    if data.source is not None and data.validation_split is not None:
        yield Problem(
            "cuts the training split, but the hub's validation split is used",
            field="data.split",
            value=list(data.split),
            remedy="data.validation_split=null, or leave data.split out",
        )
    test_given = data.test is not None or (data.source is not None and data.test_split is not None)
    if len(data.split) == 3 and data.split[2] > 0 and test_given:
        yield Problem(
            "leaves a part for testing, but test data are given too",
            field="data.split",
            value=list(data.split),
            remedy="give two fractions, or leave the test data out",
        )


def _missing_helpers(augment: Augment) -> Iterator[Problem]:
    """A problem for each file or model that altered copies need and that isn't there."""
    for key in ("synonym_file", "alike_file"):
        path = getattr(augment, key)
        if path is not None:
            yield from with_field(missing_files([Path(path)]), f"data.augment.{key}")
    for directory in augment.back_translation or ():
        if not Path(directory, "config.json").is_file():
            remedy = "give two directories of Marian models, such as opus-mt-en-de and opus-mt-de-en"
            text = "is no directory of a model: there is no config.json"
            yield Problem(text, directory, "data.augment.back_translation", None, remedy)


def _corpus(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with the file that evaluation searches."""
    spec = tasks.of(recipe)
    if spec.corpus is None:
        return
    try:
        check_corpus(Path(spec.corpus), recipe)
    except UserError as error:
        yield from with_field(error.problems, spec.corpus_key)


def _sizes(
    recipe: Recipe, train: Split, validation: Split, test: Split, problems: list[Problem]
) -> tuple[int | None, int | None, int | None]:
    counts = {split.name: split.count if split.given else None for split in (train, validation, test)}
    fractions = cut_fractions(recipe.data)
    if fractions is not None and recipe.data.group is not None:
        counts |= {"train": None, "validation": None} | ({} if test.given else {"test": None})
    elif fractions is not None and train.count is not None and not train.failed:
        parts = _parts(recipe.data, train.count, fractions)
        if recipe.data.folds is not None and recipe.data.folds > train.count:
            text, remedy = f"data.train has {train.count} rows", f"use data.folds={train.count} or fewer"
            problems.append(Problem(text, field="data.folds", value=recipe.data.folds, remedy=remedy))
        for name, size, fraction in zip(counts, parts, fractions, strict=True):
            if fraction > 0 and size == 0:
                problems.append(_empty_part(name, train.count, fractions))
        counts |= dict(zip(("train", "validation") if test.given else counts, parts, strict=False))
    if recipe.data.clean.drop_leaked:
        counts["train"] = None
    if counts["train"] is not None:
        counts["train"] = _training_examples(recipe, train, counts["train"])
    return counts["train"], counts["validation"], counts["test"] or None


def _parts(data: Data, count: int, fractions: Sequence[float]) -> tuple[int, ...]:
    if data.folds is None:
        return split_sizes(count, fractions)
    held_out = len(range(data.fold, count, data.folds))
    return count - held_out, held_out, 0


def _training_examples(recipe: Recipe, train: Split, count: int) -> int | None:
    """Examples after data.shots or data.limit, altered copies included."""
    data = recipe.data
    if data.shots is not None:
        classes = label_count(recipe, train)
        if classes is None:
            return None
        count = min(count, data.shots * classes)
    if data.limit is not None:
        count = min(count, data.limit)
    return count * (1 + data.augment.copies) if data.augment.any else count


def _empty_part(name: str, count: int, fractions: Sequence[float]) -> Problem:
    return Problem(
        f"leaves no example for {name}: data.train has {count} rows",
        field="data.split",
        value=[fraction for fraction in fractions if fraction],
        remedy="give more data, data.validation=FILE, or other fractions",
    )


def _notes(recipe: Recipe, *splits: Split) -> Iterator[str]:
    spec = tasks.of(recipe)
    kinds = spec.kinds({})
    doubts = spec.class_doubts(known_classes(recipe, splits[0]), splits[0].names)
    for doubt in (*spec.column_doubts(splits[0].columns), *doubts):
        yield f"data.train: {doubt.message}; {doubt.remedy}"
    for split in splits:
        if split.unlabelled:
            yield left_out_rows(f"data.{split.name}", split.unlabelled)
        if split.empty:
            yield f"data.{split.name}: {split.empty} of {split.rows} rows read have no text"
        if split.rows and split.numbers == split.rows:
            yield f"data.{split.name}: every text is a number; data.text names the column of texts"
        if split.quoted and 2 * split.quoted >= split.begun_by_quotes and recipe.data.quoting is None:
            text = f"{split.quoted} texts stand in quotes with doubled ones within, as csv writes them"
            yield f"data.{split.name}: {text}; data.quoting=true takes them off"
        for kind, (count, first) in split.doubts.items():
            said = kinds[kind]
            yield f"data.{split.name}: {count} {said.what} (first: {first}); {said.before_launch}"
    yield from _files_given_again(recipe)
    for name in ("train", "validation", "test"):
        for path in files(getattr(recipe.data, name)):
            if names := header_among_rows(path, read_options(recipe.data)):
                text = f"{path.name}:1 looks like a header ({', '.join(names)}) and is read as a row"
                yield f"data.{name}: {text}; data.header=true takes names from it"


def _files_given_again(recipe: Recipe) -> Iterator[str]:
    """A sentence for each file that a split names again, by whatever path or as a copy, and each other one that is trained on."""
    data = recipe.data
    extra = {f"eval.extra.{name}": (Path(path),) for name, path in recipe.eval.extra.items()}
    splits = {"data.validation": files(data.validation), "data.test": files(data.test), **extra}
    given = {"data.train": files(data.train), **splits}
    same = by_content(path for paths in given.values() for path in paths)
    trained_on = {same[path]: path for path in reversed(given["data.train"])}
    for key, paths_given in given.items():
        alike = defaultdict[Hashable, list[Path]](list)
        for path in paths_given:
            alike[same[path]].append(path)
        for content, (first, *others) in alike.items():
            if others:
                names = ", ".join(dict.fromkeys(path.name for path in (first, *others)))
                what = "one file" if _is_one((first, *others)) else "files of the same content"
                yield f"{key}: {names}: {what}, given {len(others) + 1} times; each of its rows counts as often"
            if key != "data.train" and (original := trained_on.get(content)) is not None:
                copy = "" if _is_one((first, original)) else f", as {original}, byte for byte the same"
                yield f"{key}: {first.name} is trained on, too{copy}: what is measured on it says nothing of other texts"


def _is_one(given: Sequence[Path]) -> bool:
    """Whether all paths lead to one file."""
    return len({paths.identity(path) for path in given}) == 1


def _done(facts: DataFacts, problems: Sequence[Problem]) -> DataFacts:
    if problems:
        raise UserError(missing_columns.told_once(problems))
    return facts
