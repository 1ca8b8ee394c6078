"""Values as they were written, held against a schema: what fits becomes a section, what doesn't becomes a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from launcher import tasks
from launcher.errors import Problem, UserError, nearest
from launcher.loading.other_names import called_here, value_here
from launcher.loading.yaml_source import Node, scalar
from launcher.recipe.cluster import Cluster
from launcher.recipe.fields import (
    Leaf,
    Line,
    LocalPath,
    Name,
    Nodes,
    PathOrId,
    Section,
    TimeLimit,
    leaves,
    sentences,
)
from launcher.recipe.recipe import Recipe, nested

_MANY = 50
"""Beyond this many problems in one file, no nearest match is looked for."""

_TEXTS = {
    get_args(Name)[1]: ("a name", "names"),
    get_args(Line)[1]: ("a line of text", "lines of text"),
    get_args(PathOrId)[1]: ("a path or id", "paths or ids"),
    get_args(LocalPath)[1]: ("a path", "paths"),
    get_args(TimeLimit)[1]: ("a time limit", "time limits"),
    get_args(get_args(Nodes)[1])[1]: ("a range such as 2..4", "ranges"),
}


@dataclass(frozen=True)
class Schema:
    """The keys of a tree of sections, by full dotted name."""

    root: type[Section]
    leaves: Mapping[str, FieldInfo]
    sections: frozenset[str]
    places: Mapping[str, Leaf]

    def meaning(self, key: str) -> str | None:
        """What a leaf means, in a sentence."""
        leaf = self.places[key]
        return sentences(leaf.section).get(leaf.attribute)

    def holding(self, text: object) -> Iterator[str]:
        """The leaves with values of this kind of text, such as LocalPath."""
        marker = get_args(text)[1]
        for key, field in self.leaves.items():
            if any(marker in metadata for _, metadata in _parts(field.annotation, tuple(field.metadata))):
                yield key

    def keys_of(self, section: str) -> list[str]:
        """Dotted names of what stands directly in `section` ("" is the top)."""
        prefix = f"{section}." if section else ""
        inside = (name for name in (*self.leaves, *sorted(self.sections)) if name.startswith(prefix))
        return [name for name in inside if "." not in name.removeprefix(prefix)]


@dataclass(frozen=True)
class Misfit:
    """Why the value of a key doesn't fit."""

    message: str
    inside: str | None = None
    """Key within the value, where the value is a mapping (`env.OMP_NUM_THREADS`)."""


@cache
def schema_of(root: type[Section]) -> Schema:
    """The keys that a recipe (or a cluster profile) may hold."""
    places = {leaf.name: leaf for leaf in leaves(root)}
    fields = {name: leaf.field for name, leaf in places.items()}
    parts = [name.split(".") for name in places]
    sections = frozenset(".".join(words[:length]) for words in parts for length in range(1, len(words)))
    return Schema(root, fields, sections, places)


def flatten(tree: Node, schema: Schema, where: str) -> tuple[dict[str, Node], list[Problem]]:
    """Leaf keys of a file with their nodes, and a problem for each key that the schema doesn't have."""
    found: dict[str, Node] = {}
    problems: list[Problem] = []

    def visit(mapping: Mapping[str, Node], prefix: str) -> None:
        for name, node in mapping.items():
            key = prefix + name
            if key in schema.sections and isinstance(node.value, dict):
                visit(node.value, key + ".")
            elif key in schema.sections and node.value is None:
                continue  # a section whose keys are all commented out
            elif "." in name and (key in schema.leaves or key in schema.sections):
                section = key.rpartition(".")[0]
                text, hint = f"is a key of the section {section}", f"write it indented under `{section}:`"
                problems.append(Problem(text, f"{where}:{node.line}", key, shown(node), hint))
            elif key in schema.leaves and (
                not isinstance(node.value, dict) or holds_mapping(schema.leaves[key])
            ):
                found[key] = node
            else:
                message, meant = unknown_key(key, schema, guess=len(problems) < _MANY)
                value = None if isinstance(node.value, dict) else shown(node)
                problems.append(Problem(message, f"{where}:{node.line}", key[:200], value, meant))

    assert isinstance(tree.value, dict)
    visit(tree.value, "")
    return found, problems


def unknown_key(key: str, schema: Schema, guess: bool = True) -> tuple[str, str | None]:
    """Message and remedy for a key that can't be given a value: unknown, or a section."""
    if key in schema.sections:
        keys = "its keys: " + ", ".join(schema.keys_of(key))
        return "is a section, not a value", "; ".join(filter(None, (called_here(key), keys)))
    if key in schema.leaves:
        return "is a value, not a section", schema.meaning(key)
    if not guess:
        return "unknown key", None
    remedy = called_here(key)
    if remedy is not None and not _same_word(key, schema):
        return "unknown key", remedy
    matches = similar_keys(key, list(schema.leaves))
    if matches:
        return "unknown key", f"did you mean {' or '.join(matches)}?"
    section = key.rpartition(".")[0]
    while section and section not in schema.sections:
        section = section.rpartition(".")[0]
    return "unknown key", "known here: " + ", ".join(schema.keys_of(section))


def _same_word(key: str, schema: Schema) -> bool:
    """Whether a key differs from one of ours in case, dashes or the missing section alone."""
    word = key.strip("-").replace("-", "_").lower()
    names = list(schema.leaves)
    return word in names or ("." not in word and word in {name.rpartition(".")[2] for name in names})


def similar_keys(key: str, names: list[str]) -> list[str]:
    """Full dotted names that `key` was probably meant to be; `lr` finds train.lr."""
    word = key[:100].strip("-").replace("-", "_").lower()
    if word in names:
        return [word]
    last: dict[str, list[str]] = {}
    for name in names:
        section, _, leaf = name.rpartition(".")
        within = section.rpartition(".")  # a section of a section, such as train.loss
        for part in {leaf, within[2]} if within[0] else {leaf}:
            last.setdefault(part, []).append(name)
    if "." not in word and word in last:
        return last[word]
    section, _, leaf = word.rpartition(".")
    if section and len(last.get(leaf, [])) == 1:
        return last[leaf]
    if match := nearest(word, names):
        return [match]
    guess = nearest(leaf, list(last))
    return last[guess] if guess else []


def as_wanted(node: Node, field: FieldInfo) -> Any:
    """The plain value of a node, with scalars kept as written where the schema wants text (`run_id: 007`)."""
    return _as_wanted(node, _kinds(field))


def fit(schema: Schema, values: Mapping[str, Any]) -> tuple[Section | None, dict[str, list[Misfit]]]:
    """The section that dotted `values` make, or None and the misfits of every key whose value doesn't fit."""
    try:
        # JSON mode: strict about types, but lists are tuples there.
        return schema.root.model_validate_json(json.dumps(nested(values))), {}
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    by_place: dict[tuple[str, str | None], Misfit] = {}
    for item in found:
        key, inside = _leaf_of(item["loc"], schema)
        written = item["ctx"]["error"] if item["type"] == "value_error" else None
        if written is not None or (key, inside) not in by_place:
            wanted = _wanted(schema.leaves[key], item["type"], inside)
            by_place[key, inside] = Misfit(wanted if written is None else str(written), inside)
    misfits: dict[str, list[Misfit]] = {}
    for (key, _), misfit in by_place.items():
        misfits.setdefault(key, []).append(misfit)
    return None, misfits


def expected(field: FieldInfo) -> str:
    """What a key takes, in words: "a whole number of at least 1, epoch, or null"."""
    nouns = [_noun(kind, metadata) for kind, metadata in _kinds(field)]
    if len(nouns) == 1:
        return nouns[0]
    return ", ".join(nouns[:-1]) + (", or " if len(nouns) > 2 or ", " in nouns[0] else " or ") + nouns[-1]


@dataclass(frozen=True)
class KeyHelp:
    """What there is to know about a key."""

    key: str
    of: str
    """Of a `recipe` or a `profile`."""
    meaning: str
    takes: str
    default: str
    decides: str


def help_on(word: str) -> list[KeyHelp]:
    """The key of this name, of a recipe or a profile, or all whose names or meanings have it.

    Raises UserError where there is none.
    """
    every = [
        KeyHelp(
            leaf.name,
            kind,
            sentences(leaf.section)[leaf.attribute],
            expected(leaf.field),
            default_text(leaf),
            ", ".join(leaf.subjects),
        )
        for kind, root in (("recipe", Recipe), ("profile", Cluster))
        for leaf in leaves(root)
    ]
    for found in (
        [each for each in every if each.key == word],
        [each for each in every if each.key.startswith(f"{word}.")],
        [each for each in every if word and word.lower() in each.key],
        [each for each in every if word and word.lower() in each.meaning.lower()],
    ):
        if found:
            return found
    names = [each.key for each in every]
    guess = nearest(word, names) or nearest(word, [name.rpartition(".")[2] for name in names])
    remedy = called_here(word) or (f"did you mean {guess}?" if guess else "docs/keys.md has them all")
    raise UserError(f"no key has {word!r} in its name or meaning", remedy=remedy)


def default_text(leaf: Leaf) -> str:
    """A key's default as it would be written, `needed` where it has none."""
    if leaf.field.is_required():
        return "needed"
    value = leaf.field.get_default(call_default_factory=True, validated_data={})
    return "{}" if value == {} else shown(value) or "null"


def hint(schema: Schema, key: str, value: Any) -> str | None:
    """What to write instead of `value`, or else what the key means."""
    kinds = [kind for kind, _ in _kinds(schema.leaves[key])]
    allowed = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if bool in kinds and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        return "write true or false: in YAML 1.2, yes and no are text"
    if isinstance(value, str) and any(
        type(scalar(value)) is kind for kind in kinds if kind in (int, float, bool)
    ):
        return "leave out the quotes: what stands in them is text"
    if int in kinds and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if guess := (tasks.called(str(value)) if key == "task" else None) or _nearest_choice(value, allowed):
        return f"did you mean {guess}?"
    return schema.meaning(key)


def _nearest_choice(value: Any, allowed: list[str]) -> str | None:
    if value is False or value in ("off", "no", "false", "False"):
        return next((choice for choice in ("none", "disabled") if choice in allowed), None)
    if not allowed or not isinstance(value, str | int):
        return None
    return value_here(str(value), allowed) or nearest(str(value)[:100].lower(), allowed)


def shown(value: Any) -> str | None:
    """A value as a person would write it; None for null."""
    if isinstance(value, Node):
        if value.text and value.value is not None:
            return value.text
        value = value.plain()
    if value is None:
        return None
    if value == "":
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(item) or "null" for item in value) + "]"
    return str(value)


def choices_of(field: FieldInfo) -> list[str]:
    """The values that a key can have, where these are few; empty where any of a kind will do."""
    found: list[str] = []
    for kind, _ in _kinds(field):
        found += map(str, get_args(kind)) if get_origin(kind) is Literal else ()
        found += ("true", "false") if kind is bool else ()
    return found


def _kinds(field: FieldInfo) -> list[tuple[Any, tuple[Any, ...]]]:
    return list(_members(field.annotation, tuple(field.metadata)))


def _members(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The members of a union as (type, constraints), Annotated unwrapped."""
    if get_origin(annotation) is Annotated:
        inner, *outer = get_args(annotation)
        constraints = (part.metadata if isinstance(part, FieldInfo) else [part] for part in outer)
        yield from _members(inner, (*metadata, *(one for parts in constraints for one in parts)))
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member, metadata)
    else:
        yield annotation, metadata


def _parts(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The members of a union, and what those that are lists or mappings hold, as (type, constraints)."""
    for kind, constraints in _members(annotation, metadata):
        yield kind, constraints
        if get_origin(kind) in (tuple, dict):
            for inner in get_args(kind):
                yield from _parts(inner, ())


def takes_whole_numbers(field: FieldInfo) -> bool:
    """Whether a key's values may be whole numbers as such: a learning rate of 1 is no whole number."""
    return any(kind is int for kind, _ in _kinds(field))


def holds_mapping(field: FieldInfo) -> bool:
    """Whether a key's value is a mapping, whose names are the user's own."""
    return any(get_origin(kind) is dict for kind, _ in _kinds(field))


def holds_list(field: FieldInfo) -> bool:
    """Whether a key's value may be a list."""
    return any(get_origin(kind) is tuple for kind, _ in _kinds(field))


def _as_wanted(node: Node, kinds: Iterable[tuple[Any, Any]]) -> Any:
    kinds = list(kinds)
    if isinstance(node.value, tuple):
        inner = next((get_args(kind)[0] for kind, _ in kinds if get_origin(kind) is tuple), None)
        return [_as_wanted(item, _members(inner)) for item in node.value]
    if isinstance(node.value, dict):
        inner = next((get_args(kind)[1] for kind, _ in kinds if get_origin(kind) is dict), None)
        return {name: _as_wanted(item, _members(inner)) for name, item in node.value.items()}
    wanted = [kind for kind, _ in kinds]
    wants_text = str in wanted and type(node.value) not in wanted
    return node.text if wants_text and node.text is not None and node.value is not None else node.value


def _leaf_of(location: tuple[int | str, ...], schema: Schema) -> tuple[str, str | None]:
    """The leaf key that an error's location lies in, and the key inside its value where that is a mapping."""
    parts = [str(part) for part in location]
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in schema.leaves:
            # In a union the location goes on with the name of a branch.
            kinds = [kind for kind, _ in _kinds(schema.leaves[key]) if kind is not NoneType]
            inside = length < len(parts) and [get_origin(kind) for kind in kinds] == [dict]
            return key, parts[length] if inside else None
    return ".".join(parts), None


def _wanted(field: FieldInfo, error: str, inside: str | None) -> str:
    if inside is not None:
        return "must be a line of text"
    return f"is needed: {expected(field)}" if error == "missing" else f"must be {expected(field)}"


def _noun(kind: Any, metadata: tuple[Any, ...]) -> str:
    if kind is NoneType:
        return "null"
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        allowed = [str(choice) for choice in get_args(kind)]
        return allowed[0] if len(allowed) == 1 else "one of " + ", ".join(allowed)
    if kind in (int, float):
        return f"a {'whole ' if kind is int else ''}number{_range(kind, metadata)}"
    if get_origin(kind) is tuple:
        return f"a list of {_plural(get_args(kind)[0], metadata)}"
    if get_origin(kind) is dict:
        (inner, constraints), *_ = _members(get_args(kind)[1])
        values = f"numbers{_range(inner, constraints)}" if inner is float else "text"
        return f"a mapping of names to {values}"
    if _bound(metadata, "max_length") == 1:
        return "one character"
    return _text(metadata)[0]


def _plural(item: Any, metadata: tuple[Any, ...]) -> str:
    (kind, constraints), *_ = _members(item)
    least, most = _bound(metadata, "min_length"), _bound(metadata, "max_length")
    fewest = f"{'one' if least == 1 else least} or more " if least else ""
    count = f"{least} to {most} " if most is not None else fewest
    if kind in (int, float):
        return f"{count}{'whole ' if kind is int else ''}numbers{_range(kind, constraints)}"
    return count + _text(constraints)[1]


def _text(metadata: tuple[Any, ...]) -> tuple[str, str]:
    return next((nouns for marker, nouns in _TEXTS.items() if marker in metadata), ("text", "texts"))


def _range(kind: Any, metadata: tuple[Any, ...]) -> str:
    least, above, most, below = (_bound(metadata, name) for name in ("ge", "gt", "le", "lt"))
    if kind is int and below is not None:
        most, below = below - 1, None
    if least is not None and most is not None:
        return f" from {least} to {most}"
    low = f" of at least {least}" if least is not None else f" above {above}" if above is not None else ""
    return f"{low} and below {below}" if below is not None else low


def _bound(metadata: tuple[Any, ...], name: str) -> Any:
    return next((value for part in metadata if (value := getattr(part, name, None)) is not None), None)
