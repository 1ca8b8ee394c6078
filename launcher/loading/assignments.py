"""What the command line and the environment give: `key=value` words, each value a YAML 1.2 scalar, [a,b], "text" or @file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from launcher import paths
from launcher.errors import Problem, UserError
from launcher.loading.named_files import files_by_name
from launcher.loading.other_names import called_here
from launcher.loading.schema import Schema, holds_list, holds_mapping, schema_of, similar_keys, unknown_key
from launcher.loading.yaml_source import Node, hidden_character, quoted, read_text, scalar
from launcher.recipe.recipe import Recipe

PREFIX = "LAUNCH_"
OTHER_VARIABLES = frozenset({"LAUNCH_COMPAT"})
"""Variables that are read elsewhere and are no keys of a recipe."""
NAMED_BY_AN_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID")
OF_AN_AGENT = {
    "WANDB_SWEEP_ID": "tracking.wandb.sweep",
    "WANDB_RUN_ID": "run_id",
    "WANDB_PROJECT": "tracking.wandb.project",
    "WANDB_ENTITY": "tracking.wandb.entity",
}
"""What `wandb agent` sets for each run that it starts."""
OF_WANDB = {
    "WANDB_PROJECT": "tracking.wandb.project",
    "WANDB_ENTITY": "tracking.wandb.entity",
    "WANDB_RUN_GROUP": "tracking.wandb.group",
    "WANDB_JOB_TYPE": "tracking.wandb.job_type",
    "WANDB_TAGS": "tracking.wandb.tags",
    "WANDB_NOTES": "tracking.wandb.notes",
}
"""What W&B's own variables say of all runs of a user, where nothing else does."""
TYPO = 0.8
"""How alike a variable and a key must be, from 0 to 1, for one to be taken for the other mistyped."""
USUAL, RECIPE, ENVIRONMENT, OVERRIDE = 0, 1, 2, 3
"""Strength of a place: a stronger one wins."""

_ITEM = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]*?)\s*(?:,|$)""", re.DOTALL)


@dataclass(frozen=True)
class Given:
    """A value for one key, in one place."""

    node: Node
    where: str
    strength: int
    base: Path


@dataclass
class Mistakes:
    """What is wrong so far, and the keys that have no usable value because of it."""

    problems: list[Problem] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, problem: Problem, key: str | None = None) -> None:
        self.problems.append(problem)
        if key is not None:
            self.keys.add(key)

    def about(self, key: str) -> bool:
        """Whether this key, or a section that it is in, has a mistake."""
        sections = key.split(".")
        return any(".".join(sections[:length]) in self.keys for length in range(1, len(sections) + 1))


def _as_assignment(word: str) -> str:
    """How a word that names a key gives it a value."""
    key, colon, value = word.partition(":")
    if key in schema_of(Recipe).leaves:
        return f"write {key}={value.strip() if colon and value else 'VALUE'}"
    return "for example nodes=4"


def names_recipe(word: str, assignments: Sequence[str], cwd: Path) -> bool:
    """Whether a bare word is meant as the recipe, where no other is given."""
    if any(other.startswith("recipe=") for other in assignments):
        return False
    return word.endswith((".yaml", ".yml")) or word in files_by_name("recipes", cwd)


def from_words(
    assignments: Sequence[str], cwd: Path, mistakes: Mistakes
) -> tuple[str | None, dict[str, Given]]:
    """The recipe's name or path, and a value for each key of the command line."""
    texts: dict[str, str] = {}
    for word in assignments:
        key, equals, text = word.partition("=")
        if reason := hidden_character(word):
            mistakes.add(Problem(reason, "override", None if hidden_character(key) else key[:200]), key)
        elif not equals:
            is_recipe = names_recipe(word, assignments, cwd)
            remedy = f"did you mean recipe={word}?" if is_recipe else _as_assignment(word)
            mistakes.add(
                Problem("is not key=value", "override", word[:200], remedy=remedy),
                "recipe" if is_recipe else None,
            )
        elif key in texts:
            remedy = f"keep one of {key}={texts[key]} and {word}"
            mistakes.add(Problem("is given twice", "override", key, text, remedy), key)
        else:
            texts[key] = text
    reference = texts.pop("recipe", None)
    found: dict[str, Given] = {}
    for key, text in texts.items():
        _accept(key, text, "override", OVERRIDE, cwd, found, mistakes)
    return reference, found


def from_environment(environ: Mapping[str, str], cwd: Path, mistakes: Mistakes) -> dict[str, Given]:
    """A value for each key that a LAUNCH_ variable names."""
    schema = schema_of(Recipe)
    variables = {_variable(key): key for key in (*schema.leaves, *schema.sections)}
    found: dict[str, Given] = {}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        where = f"environment {name[:100]}"
        key = variables.get(name)
        if reason := hidden_character(name + environ[name]):
            mistakes.add(Problem(reason, where if not hidden_character(name) else "environment"), key)
        elif name == f"{PREFIX}RECIPE":
            remedy = f"give recipe={environ[name]} on the command line"
            mistakes.add(Problem("unknown key", where, "recipe", environ[name], remedy))
        elif name in OTHER_VARIABLES:
            continue
        elif key is None and _looks_like_a_key(name, schema):
            word = _word(name)
            remedy = _variable_meant(word, schema)
            mistakes.add(Problem("unknown key", where, word[:100], environ[name], remedy))
        elif key is None:
            continue  # a variable of somebody else's; unknown_variables names it
        else:
            _accept(key, environ[name], where, ENVIRONMENT, cwd, found, mistakes)
    for name, key in _of_an_agent(environ).items():
        _accept(key, environ[name], f"environment {name}", ENVIRONMENT, cwd, found, mistakes)
    return found


def from_wandb(environ: Mapping[str, str], cwd: Path, mistakes: Mistakes) -> dict[str, Given]:
    """A value for each key that a variable of W&B's names, as W&B's own client reads it: `a,b` are two tags.

    What `wandb init`, `wandb offline` and `wandb disabled` have written in the working directory counts less than these.
    """
    found = _from_wandb_settings(cwd)
    for name, key in OF_WANDB.items():
        if not (text := environ.get(name, "").strip()):
            continue
        if reason := hidden_character(text):
            mistakes.add(Problem(reason, f"environment {name}"), key)
            continue
        tags = tuple(Node(tag.strip(), 0) for tag in text.split(",") if tag.strip())
        node = Node(tags if name == "WANDB_TAGS" else text, 0, text)
        found[key] = Given(node, f"environment {name}", USUAL, cwd)
    return found


def _from_wandb_settings(cwd: Path) -> dict[str, Given]:
    written = wandb_settings(cwd / "wandb" / "settings")
    if written.get("mode") not in ("offline", "disabled"):
        written.pop("mode", None)
    return {
        f"tracking.wandb.{name}": Given(Node(written[name], 0, written[name]), "wandb/settings", USUAL, cwd)
        for name in ("mode", "project", "entity")
        if written.get(name) and not hidden_character(written[name])
    }


def wandb_settings(*files: Path) -> dict[str, str]:
    """What settings files of W&B say, the later ones more than the earlier; nothing where one can't be read."""
    there = [path for path in files if paths.is_file(path)]
    if not there:
        return {}
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(there)
    except (OSError, configparser.Error, UnicodeDecodeError):  # W&B's client doesn't heed it either
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _of_an_agent(environ: Mapping[str, str]) -> dict[str, str]:
    """Variable -> key, of those by which `wandb agent` says which run of which sweep it starts; nothing where there is none."""
    if any(hidden_character(environ.get(name, "")) or not environ.get(name) for name in NAMED_BY_AN_AGENT):
        return {}
    return {name: key for name, key in OF_AN_AGENT.items() if environ.get(name)}


def unknown_variables(environ: Mapping[str, str]) -> str | None:
    """A sentence that names the LAUNCH_ variables which are no keys and don't look like any; None where there are none."""
    schema = schema_of(Recipe)
    keys = {_variable(key) for key in (*schema.leaves, *schema.sections)} | OTHER_VARIABLES
    names = sorted(name for name in environ if name.startswith(PREFIX) and name not in keys)
    unknown = [
        name[:100] for name in names if not _looks_like_a_key(name, schema) and not hidden_character(name)
    ]
    if not unknown:
        return None
    return f"no keys, and not looked at: {', '.join(unknown)} in the environment"


def _looks_like_a_key(name: str, schema: Schema) -> bool:
    """Whether a variable that names no key was meant to: it has a section, or a name that is one or nearly so."""
    word = _word(name)
    tops = [key for key in (*schema.leaves, *schema.sections) if "." not in key]
    last = {key.rpartition(".")[2] for key in schema.leaves}
    return (
        "." in word.strip(".")
        or word in last
        or _with_one_underscore(word, schema) is not None
        or called_here(word) is not None
        or bool(get_close_matches(word[:100], tops, n=1, cutoff=TYPO))
    )


def _with_one_underscore(word: str, schema: Schema) -> str | None:
    """The key train.lr where somebody wrote LAUNCH_TRAIN_LR."""
    return {key.replace(".", "_"): key for key in schema.leaves}.get(word.replace(".", "_"))


def _variable_meant(word: str, schema: Schema) -> str:
    if key := _with_one_underscore(word, schema):
        return f"did you mean {_variable(key)}?"
    guesses = [_variable(guess) for guess in similar_keys(word, list(schema.leaves))]
    other = called_here(word)
    if other is not None and word not in {key.rpartition(".")[2] for key in schema.leaves}:
        return other
    return f"did you mean {' or '.join(guesses)}?" if guesses else f"{PREFIX}SECTION__KEY names a recipe key"


def _word(name: str) -> str:
    return name.removeprefix(PREFIX).lower().replace("__", ".")


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _accept(
    key: str, text: str, where: str, strength: int, cwd: Path, found: dict[str, Given], mistakes: Mistakes
) -> None:
    schema = schema_of(Recipe)
    if key not in schema.leaves:
        message, remedy = unknown_key(key, schema)
        mistakes.add(Problem(message, where, key[:200], text, remedy), key)
        return
    try:
        if holds_mapping(schema.leaves[key]) and text.startswith("{") and text.endswith("}"):
            node = _read_mapping(key, text, where)
        else:
            node = _read_value(key, text, where, cwd, lists=holds_list(schema.leaves[key]))
        found[key] = Given(node, where, strength, cwd)
    except UserError as error:
        for problem in error.problems:
            mistakes.add(problem, key)


def _read_value(key: str, text: str, where: str, cwd: Path, *, lists: bool) -> Node:
    """The value in `key=value`: a scalar, [a,b], "quoted text" or @file, which may hold [a,b] where the key takes `lists`."""
    if text.startswith("@"):
        content = read_text(cwd / text[1:], where=f"{where}: {key}={text}").removesuffix("\n")
        if reason := hidden_character(content):
            raise UserError(reason, where, key, text)
        if lists and content.startswith("[") and content.endswith("]"):
            return _read_list(key, content, where)
        return Node(scalar(content), 0, content)
    if text.startswith("{") and text.endswith("}"):
        remedy = 'give each key by itself, as in train.lr=1e-4, or quote the text: "{...}"'
        raise UserError("takes no {...}", where, key, text, remedy)
    if text.startswith("[") and text.endswith("]"):
        return _read_list(key, text, where)
    node = _read_scalar(key, text, where)
    if node.text is not None and "," in text:
        remedy = (
            f'a list is [{text.strip("[]")}], text with a comma is "{text}"; a run for each: launch sweep ...'
        )
        raise UserError("takes one value: here are commas outside brackets", where, key, text, remedy)
    return node


def _read_mapping(key: str, text: str, where: str) -> Node:
    """The value in `key={name: value, ...}`, for the few keys whose names are the user's own."""
    items: dict[str, Node] = {}
    for item in _read_items(key, text, where):
        name, colon, value = str(item.text).partition(":")
        if not colon or not name.strip() or not value.strip() or name.strip() in items:
            remedy = f"write it as {key}={{one: value, other: value}}, each name once"
            raise UserError("takes names with a value each", where, key, text, remedy)
        items[name.strip()] = _read_scalar(key, value.strip(), where)
    return Node(items, 0, text)


def _read_list(key: str, text: str, where: str) -> Node:
    return Node(tuple(_read_items(key, text, where)), 0, text)


def _read_items(key: str, text: str, where: str) -> list[Node]:
    """What stands between the brackets of `text`, at its commas."""
    inner = text[1:-1].strip()
    items: list[Node] = []
    position = 0
    while position < len(inner):
        match = _ITEM.match(inner, position)
        assert match is not None, text
        if not match[1] or match[1][0] in "[{":
            raise UserError("has an item that is empty or a list", where, key, text, "write it as [a,b]")
        items.append(_read_scalar(key, match[1], where))
        position = match.end()
    return items


def _read_scalar(key: str, text: str, where: str) -> Node:
    inner = quoted(text)
    if inner is None:
        return Node(scalar(text), 0, text)
    if reason := hidden_character(inner):
        raise UserError(reason, where, key, text)
    return Node(inner, 0)
