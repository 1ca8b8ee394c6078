"""A recipe from the settings of another tool, and for each of its fields what became of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.drafts.commented import one_line
from launcher.drafts.data_files import sorted_out
from launcher.drafts.layout import layout_of
from launcher.drafts.recipe import Draft, draft_of_hub, draft_recipe, wanted_keys
from launcher.drafts.trainer_fields import Taken, become
from launcher.drafts.trainer_script import Computed, fields_of
from launcher.errors import Problem, UserError
from launcher.loading.schema import fit, schema_of
from launcher.loading.yaml_source import parse, read_text
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import shown

SECRET = re.compile("token$|key|secret|passw")
"""In names of fields whose values nobody should see."""
FILES = ("data.train", "data.validation", "data.test")
OTHER_DATA = "is about other data than those given"
KINDS = (
    "give TrainingArguments as json (args.to_json_string()), a script (.py), or accelerate's config (.yaml)"
)


@dataclass(frozen=True)
class Fate:
    """What became of one field."""

    field: str
    value: str
    """As messages show it."""
    keys: tuple[str, ...]
    """The recipe's keys that have it now; none where it isn't taken over."""
    why: str


@dataclass(frozen=True)
class TakenOver:
    """The keys that fields became, and the fate of each field that said anything."""

    keys: Mapping[str, Any]
    fates: tuple[Fate, ...]
    unset: int
    """Fields that were off or empty."""


def take_over(files: Sequence[Path]) -> TakenOver:
    """What the settings in these files become. Raises UserError for a file that can't be read, or that has none."""
    fields: dict[str, Any] = {}
    for path in files:
        fields |= _fields(path)
    keys: dict[str, Any] = {}
    fates, unset = [], 0
    for name, value in fields.items():
        taken = _become(name, value, fields)
        if taken is None:
            unset += 1
            continue
        taken = _valid(taken)
        keys |= taken.keys
        fates.append(Fate(name, _shown(name, value), tuple(taken.keys), taken.why))
    if "precision" not in keys and "learning_rate" in fields:
        keys["precision"] = "fp32"
        fates.append(Fate("bf16, fp16", "off", ("precision",), "bf16 is faster on GPUs since 2020"))
    return TakenOver(keys, tuple(fates), unset)


def _become(name: str, value: Any, fields: Mapping[str, Any]) -> Taken | None:
    if isinstance(value, Computed):
        return Taken({}, f"is worked out by the script (line {value.line}): give it as key=value")
    return become(name, value, fields)


def _valid(taken: Taken) -> Taken:
    """What was taken, without values that no recipe can have."""
    leaves = {key: value for key, value in taken.keys.items() if key in schema_of(Recipe).leaves}
    _, misfits = fit(schema_of(Recipe), {"task": "", **leaves})
    wrong = [f"{key}: {misfits[key][0].message}" for key in leaves if key in misfits and key != "task"]
    if not wrong:
        return taken
    return Taken({key: value for key, value in leaves.items() if key not in misfits}, "; ".join(wrong))


def _shown(name: str, value: Any) -> str:
    if SECRET.search(name):
        return "(hidden)"
    return "computed" if isinstance(value, Computed) else shown(value)


# Files


def _fields(path: Path) -> dict[str, Any]:
    """The fields in one file, sections of accelerate and example scripts taken together."""
    text = read_text(path, path.name)
    if path.suffix == ".py":
        return _of_script(path, text)
    if path.suffix in (".yaml", ".yml"):
        problems: list[Problem] = []
        tree = parse(text, path.name, problems).plain()
        if problems:
            raise UserError(problems)
    else:
        tree = _json(path, text)
    if not isinstance(tree, dict):
        raise UserError("holds no fields", str(path), remedy=KINDS)
    return _flat(tree)


def _of_script(path: Path, text: str) -> dict[str, Any]:
    try:
        found = fields_of(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}" if line else str(path)
        raise UserError("is no Python that can be read", place, remedy=KINDS) from None
    if not found:
        remedy = "its TrainingArguments as json: print(args.to_json_string())"
        raise UserError(
            "has no TrainingArguments(...), from_pretrained(...) or load_dataset(...)",
            str(path),
            remedy=remedy,
        )
    return found


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("is no JSON", str(path), remedy=KINDS) from None


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a file, those within the sections of accelerate beside the others."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and name.endswith("_config"):
            found |= value
        else:
            found[str(name)] = value
    return found


# Recipe


def draft_from(
    files: Sequence[Path], data: Sequence[Path], words: Sequence[str], place: Path, cwd: Path
) -> tuple[Draft, TakenOver]:
    """A recipe for these data with the settings of another tool. Raises UserError as `draft_recipe` does."""
    taken = take_over(files)
    given = {word.partition("=")[0] for word in words}
    columns = _columns(data)
    other = {key: OTHER_DATA for key, value in taken.keys.items() if _is_elsewhere(key, value, columns)}
    taken = replace(taken, fates=tuple(_without(fate, other) for fate in taken.fates))
    keys = {key: value for key, value in taken.keys.items() if key not in given and key not in other}
    own = [files[0].parent / name for name in _data_files(keys)]
    found = list(data) or own
    reasons = {key: f"From {fate.field}." for fate in taken.fates for key in fate.keys}
    if found:
        return _fitting(found, words, keys, taken, reasons, place, cwd)
    if "data.source" not in keys:
        remedy = "name the files behind it: launch init --from-trainer FILE train.csv dev.csv"
        raise UserError("says nothing of data", ", ".join(map(str, files)), remedy=remedy)
    return draft_of_hub({**keys, **wanted_keys(words, cwd)}, reasons, place), taken


def _fitting(
    data: Sequence[Path],
    words: Sequence[str],
    keys: Mapping[str, Any],
    taken: TakenOver,
    reasons: Mapping[str, str],
    place: Path,
    cwd: Path,
) -> tuple[Draft, TakenOver]:
    """The recipe without those of the keys that don't go with the data's task, which is said of their fields."""
    assignments = [f"{key}={_word(value)}" for key, value in keys.items() if key not in FILES]
    try:
        return draft_recipe(data, [*words, *assignments], place, cwd, reasons), taken
    except UserError as error:
        odd = {str(problem.field): problem.message for problem in error.problems if problem.field in keys}
        if len(odd) < len({problem.field for problem in error.problems}):
            raise
    fates = tuple(_without(fate, odd) for fate in taken.fates)
    left = {key: value for key, value in keys.items() if key not in odd}
    return _fitting(data, words, left, replace(taken, fates=fates), reasons, place, cwd)


def _without(fate: Fate, odd: Mapping[str, str]) -> Fate:
    """The fate of a field whose keys can't all be kept."""
    left_out = [key for key in fate.keys if key in odd]
    if not left_out:
        return fate
    why = f"{', '.join(left_out)}: {odd[left_out[0]]}"
    return replace(fate, keys=tuple(key for key in fate.keys if key not in odd), why=why)


def _data_files(keys: Mapping[str, Any]) -> list[str]:
    values = [keys.get(key) for key in FILES]
    return [name for value in values for name in ([value] if isinstance(value, str) else value or [])]


def _is_elsewhere(key: str, value: Any, columns: Sequence[str]) -> bool:
    """Whether a key is about other data than those with these columns; of none it is never."""
    if key in ("data.text", "data.label"):
        return bool(columns) and not set([value] if isinstance(value, str) else value) <= set(columns)
    return bool(columns) and key in (*FILES, "data.source", "data.validation_split")


def _columns(data: Sequence[Path]) -> tuple[str, ...]:
    """The columns of the training data; none where no data are given."""
    rows = layout_of(sorted_out(data).train[0]).rows if data else ()
    return tuple(rows[0].values) if rows else ()


def _word(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return one_line(value)
