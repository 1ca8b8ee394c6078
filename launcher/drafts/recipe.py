"""A recipe from files of data: every key that it needs with the reason for its value, checked before anybody sees it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from launcher import tasks
from launcher.drafts.commented import commented
from launcher.drafts.data_files import DataFiles, role_of, sorted_out
from launcher.drafts.hyper_parameters import as_text, lengths_of, measure, precision_here, shipped, training
from launcher.drafts.language import language_of, models_for
from launcher.drafts.layout import Layout, layout_of
from launcher.drafts.unsupported_columns import unread_labels, unread_rows
from launcher.errors import Problem, UserError, choices
from launcher.loading import resolve as loading
from launcher.loading.assignments import Mistakes, from_words
from launcher.reading.check import DataFacts, check_data
from launcher.reading.files import words_are_lines
from launcher.reading.missing_columns import NO_SUCH
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe, leaf_values
from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.sample import Guess, Said, Sample

CUTS = {True: (0.9, 0.1), False: (0.8, 0.1, 0.1)}
"""Fractions of the training data, where test data are given and where none are."""
FEW_ROWS = 500
ASKED = "As you asked."


@dataclass(frozen=True)
class Draft:
    """A recipe that trains as it stands, and what was guessed."""

    text: str
    """YAML with a sentence above each key."""
    keys: Mapping[str, Said]
    rejected: tuple[tuple[str, Guess], ...]
    """Other tasks that the data could be for, the likeliest first."""
    facts: DataFacts


def draft_of_hub(wanted: Mapping[str, Any], reasons: Mapping[str, str], place: Path) -> Draft:
    """The recipe that these keys make as they stand, on data of the hub, which nobody can look at here.

    Raises UserError with every mistake in it.
    """
    why = "The data lie on the hub and were not looked at: launch data examines them."
    keys = {"description": Said(f"{wanted.get('task')} on {wanted['data.source']}", why)}
    keys |= {key: Said(value, reasons.get(key, ASKED)) for key, value in wanted.items()}
    if "task" not in wanted:
        remedy = "task=TASK, one of " + ", ".join(tasks.names())
        raise UserError("nothing says what is to be learnt", field="task", remedy=remedy)
    keys = _in_order(keys)
    _loaded(keys, place)
    return Draft(commented(keys, _head([])), keys, (), DataFacts())


@dataclass(frozen=True)
class _Seen:
    """The data as they were understood."""

    files: DataFiles
    layout: Layout
    sample: Sample


def draft_recipe(
    given: Sequence[Path],
    words: Sequence[str],
    place: Path,
    cwd: Path,
    reasons: Mapping[str, str] | None = None,
) -> Draft:
    """The recipe for these files that will lie in the directory `place`; `words` are keys that the user decides, for
    which there may be other `reasons`.

    Raises UserError where no task fits, where rows must be mended first, or with every mistake in `words`.
    """
    wanted = wanted_keys(words, cwd)
    seen, unlike = _look(sorted_out(given), wanted)
    (task, guess), *others = _guesses(seen.sample, wanted)
    others = [other for other in others if not _within(other[1], guess)]
    seen, guess = _named(task, seen, guess)
    keys = {**_first_keys(task, guess, seen), **guess.keys, **seen.layout.keys}
    keys |= {key: Said(value, "") for key, value in wanted.items()}
    keys, facts = _fitting_files(keys, seen, place, unlike, wanted)
    recipe = _loaded(keys, place)
    keys |= (
        lengths_of(seen.sample, recipe)
        | training(task, keys, facts, len(seen.layout.rows))
        | measure(seen.sample, recipe)
        | precision_here(wanted)
    )
    keys |= {key: Said(value, (reasons or {}).get(key, ASKED)) for key, value in wanted.items()}
    keys = _in_order(keys)
    _loaded(keys, place)
    return Draft(commented(_placed(keys, place), _head(others, facts.notes)), keys, tuple(others), facts)


# What is said


def wanted_keys(words: Sequence[str], cwd: Path) -> dict[str, Any]:
    """The keys that the user decides. Raises UserError with every mistake."""
    mistakes = Mistakes()
    _, found = from_words(words, cwd, mistakes)
    if mistakes.problems:
        raise UserError(mistakes.problems)
    if "task" in found and found["task"].node.plain() not in tasks.names():
        loading.load(["recipe=smoke", *words], environ={}, cwd=cwd)  # says what is allowed
    return {key: given.node.plain() for key, given in found.items()}


def _look(files: DataFiles, wanted: Mapping[str, Any]) -> tuple[_Seen, list[str]]:
    """The data as they are read, and a sentence on each file that can't be read like the training data."""
    layout = layout_of(files.train[0], _reading(wanted))
    if not any(value not in (None, "") for row in layout.rows for value in row.values.values()):
        raise UserError("holds no rows", str(files.train[0]))
    files, unlike = _read_alike(files, layout, said=bool(_reading(wanted)))
    sample = Sample.of(layout.rows, text=_columns(wanted, "text"), label=_columns(wanted, "label"))
    return _Seen(files, layout, sample), unlike


def _read_alike(files: DataFiles, layout: Layout, *, said: bool) -> tuple[DataFiles, list[str]]:
    """The files without those for validation and testing whose first line isn't what that of the training data is."""
    unlike, header = [], layout.options.header
    for name in ("validation", "test"):
        for path in getattr(files, name):
            if not said and layout_of(path).options.header != header:
                has = (
                    "no header line, and data.train has one"
                    if header
                    else "a header line, and data.train has none"
                )
                unlike.append(f"{path.name} is left out of data.{name}: it has {has}.")
                files = replace(files, **{name: ()})
    return files, unlike


def _reading(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the user says of how files are read, by the names of `ReadOptions`."""
    names = [field.name for field in fields(ReadOptions)]
    found = {name: wanted[f"data.{name}"] for name in names if f"data.{name}" in wanted}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _columns(wanted: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return _texts(wanted.get(f"data.{key}", ()))


def _guesses(sample: Sample, wanted: Mapping[str, Any]) -> list[tuple[str, Guess]]:
    """The tasks that rows may be for, the likeliest first. Raises UserError where there is none."""
    names = (wanted["task"],) if "task" in wanted else tasks.names()
    found = [(name, guess) for name in names if (guess := tasks.named(name).guess(sample)) is not None]
    if "task" not in wanted and sample.given_label:
        found = [(name, guess) for name, guess in found if "data.label" in guess.keys]
    if found:
        found.sort(key=lambda one: -one[1].certainty)
        if "task" not in wanted and (wrong := [*unread_rows(sample, found[0][1])]):
            raise UserError(wrong)
        if not tasks.named(found[0][0]).labelled and "task" not in wanted:
            _need_no_label(sample)
        return found
    _have(wanted, sample)
    _need_no_label(sample)
    columns = ", ".join(shown(column.name) for column in sample.columns)
    what = "have no label that a task learns" if sample.given_label else "have no column of text"
    what = f"don't look like data for task={wanted['task']}" if "task" in wanted else what
    remedy = "say what they are: task=TASK data.text=COLUMN data.label=COLUMN"
    if any(isinstance(value, list) for column in sample.columns for value in column.filled):
        remedy += "; a text in a list is no text, write a row for each (docs/data.md converts CHID)"
    if len(sample.columns) == 1:
        remedy += "; where texts and labels lie in files of their own: paste TEXTS LABELS > NEW.tsv"
    raise UserError(f"the rows {what}: {columns}", remedy=remedy)


def _have(wanted: Mapping[str, Any], sample: Sample) -> None:
    """Raises UserError where the user names columns that there aren't."""
    there = [column.name for column in sample.columns]
    lacking = [(f"data.{key}", one) for key in ("text", "label") for one in _columns(wanted, key)]
    problems = [
        Problem(NO_SUCH, None, key, one, choices(one, there)) for key, one in lacking if one not in there
    ]
    if problems:
        raise UserError(problems)


def _within(other: Guess, guess: Guess) -> bool:
    """Whether what the other one would learn is a part of what this one learns."""
    label, whole = other.keys.get("data.label"), guess.keys.get("data.label")
    return label is not None and whole is not None and str(label.value).startswith(f"{whole.value}.")


def _need_no_label(sample: Sample) -> None:
    """Raises UserError where a column seems to be a label that can't be read."""
    problems = list(unread_labels(sample))
    if problems:
        raise UserError(problems)


def _named(task: str, seen: _Seen, guess: Guess) -> tuple[_Seen, Guess]:
    """Names for the columns of a file that has none, and the guess in these names."""
    text, label = guess.keys["data.text"].value, guess.keys.get("data.label")
    tags_first = (
        label is not None
        and label.value == "text"
        and words_are_lines(seen.files.train[0], seen.layout.options)
    )
    if not seen.layout.names_are_ours and not tags_first:
        return seen, guess
    names = {text: "text"} if isinstance(text, str) else {name: f"text{n}" for n, name in enumerate(text, 1)}
    if (negative := guess.keys.get("data.negatives")) is not None and isinstance(negative.value, str):
        names[negative.value] = "negative"
    if label is not None and isinstance(label.value, str):
        names[label.value] = "label"
    layout = seen.layout.renamed(names)
    given = {
        key: _texts(_renamed(guess.keys[key].value, names))
        for key in ("data.text", "data.label")
        if key in guess.keys
    }
    sample = Sample.of(layout.rows, text=given["data.text"], label=given.get("data.label", ()))
    again = tasks.named(task).guess(sample)
    said = {key: Said(_renamed(value, names), why) for key, (value, why) in guess.keys.items()}
    return _Seen(seen.files, layout, sample), again or replace(guess, keys=said)


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


# Keys


def _first_keys(task: str, guess: Guess, seen: _Seen) -> dict[str, Said]:
    """What the recipe is about."""
    files = seen.files
    keys = {
        "description": Said(f"{task} on {_described(files)}", ""),
        "task": Said(task, guess.why),
        "model.name": _model(task, guess, seen),
    }
    for name in ("train", "validation", "test"):
        if found := getattr(files, name):
            keys[f"data.{name}"] = Said([str(path.absolute()) for path in found], "")
    said = []
    if role_of(files.train[0]) not in ("train", ""):
        said.append(f"No file is named as one for training: {files.train[0].name} is taken.")
    elif len(files.train) > 1 and not role_of(files.train[0]):
        said.append("No name says what a file is for: all are for training.")
    if files.left_out:
        left = ", ".join(path.name for path in files.left_out)
        said.append(f"Left out: {left}.")
    keys["data.train"] = Said(keys["data.train"].value, " ".join(said))
    return keys


def _described(files: DataFiles) -> str:
    several, first = len(files.train) > 1, files.train[0]
    name = f"{len(files.train)} files of {first.absolute().parent.name}" if several else first.name
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _model(task: str, guess: Guess, seen: _Seen) -> Said:
    """A model for the language; of several, one that a shipped recipe trains for this task."""
    text = guess.keys["data.text"].value
    names = [text] if isinstance(text, str) else text
    columns = [column for name in names if (column := seen.sample.named(name)) is not None]
    texts = [as_text(value) for column in columns for value in column.filled[:300]]
    language = language_of(texts)
    models = models_for(language)
    trained = {recipe.model.name for recipe in shipped(task)}
    model = next((model for model in models if model in trained), models[0])
    if language.code == "*":
        why = f"The texts are in {language.name}: a model that has read a hundred languages."
    else:
        why = f"The texts are in {language.name}."
    return Said(model, why)


def _in_order(keys: Mapping[str, Said]) -> dict[str, Said]:
    """In the order of the schema, data files first."""
    order = [key for key, _ in leaf_values(Recipe.model_validate({"task": keys["task"].value}).tree())]
    first = ["description", "task", "model.name", "data.train", "data.validation", "data.test"]
    return dict(sorted(keys.items(), key=lambda one: (one[0] not in first, (first + order).index(one[0]))))


def _head(others: Sequence[tuple[str, Guess]], doubts: Sequence[str] = ()) -> str:
    head = "Made by launch init: the sentence above a key says why it has its value."
    likely = [
        f"task={name} ({guess.why.rstrip('.')})" for name, guess in others[:2] if guess.certainty > 0.45
    ]
    also = f"\nIt could also be {'; or '.join(likely)}." if likely else ""
    return "\n".join([f"{head}{also}", *doubts])


# Files


def _fitting_files(
    keys: dict[str, Said], seen: _Seen, place: Path, left: list[str], wanted: Mapping[str, Any]
) -> tuple[dict[str, Said], DataFacts]:
    """The keys without files that don't go with the training data, with a cut where nothing is left to validate on."""
    while True:
        tried = keys | _cut(keys, seen)
        if not tried.keys() & {"data.split", "data.folds"} and "data.group" not in wanted:
            tried.pop("data.group", None)
        try:
            facts = check_data(_loaded(tried, place))
        except UserError as error:
            blamed = _blamed(error, keys)
            if blamed is None:
                raise
            names = ", ".join(Path(path).name for path in keys.pop(f"data.{blamed}").value)
            left.append(f"{names} is left out of data.{blamed}: {_reason(error.problems[0])}.")
            continue
        if left:
            train = tried["data.train"]
            tried["data.train"] = Said(train.value, " ".join(filter(None, (train.why, *left))))
        return tried, facts


def _blamed(error: UserError, keys: Mapping[str, Said]) -> str | None:
    """Which of validation and test has a file that all problems are about; None where it isn't these."""
    for name in ("test", "validation"):
        files = keys[f"data.{name}"].value if f"data.{name}" in keys else ()
        about = [
            problem.field == f"data.{name}" or any((problem.where or "").startswith(path) for path in files)
            for problem in error.problems
        ]
        if any(about):
            return name
    return None


def _reason(problem: Problem) -> str:
    """The first thing that is wrong with a file, with the column that it is about."""
    if problem.message == NO_SUCH:
        return f"it has no column {shown(problem.value)}"
    return problem.message


def _cut(keys: Mapping[str, Said], seen: _Seen) -> dict[str, Said]:
    if "data.validation" in keys or "data.folds" in keys:
        return {}
    tested = "data.test" in keys
    cut = CUTS[tested or not tasks.named(keys["task"].value).labelled]
    if len(seen.layout.rows) < FEW_ROWS:
        cut = (0.85, 0.15) if len(cut) == 2 else (0.7, 0.15, 0.15)
    parts = "for training and validation" if len(cut) == 2 else "for training, validation and testing"
    return {"data.split": Said(list(cut), f"No file for validation is given, so the rows are cut: {parts}.")}


def _placed(keys: Mapping[str, Said], place: Path) -> dict[str, Said]:
    """The keys with paths as a recipe in this directory writes them: one file alone, and relative where that is short."""
    placed = dict(keys)
    for key in ("data.train", "data.validation", "data.test"):
        if key in keys and isinstance(keys[key].value, list):
            found = [_relative(path, place) for path in keys[key].value]
            placed[key] = Said(found[0] if len(found) == 1 else found, keys[key].why)
    return placed


def _relative(path: str, place: Path) -> str:
    relative = os.path.relpath(path, place.absolute())
    if relative.startswith("-"):  # an option, where a command gets it
        return f"./{relative}"
    return path if relative.startswith("../../") else relative


def _loaded(keys: Mapping[str, Said], place: Path) -> Recipe:
    """The recipe that these keys make. Raises UserError with every mistake in it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "draft.yaml"
        path.write_text(commented(keys, ""), encoding="utf-8")
        try:
            return loading.load([f"recipe={path}"], environ={}, cwd=place).recipe
        except UserError as error:  # the lines of a file that nobody will see say nothing
            raise UserError(replace(problem, where=None) for problem in error.problems) from None
