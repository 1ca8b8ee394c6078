"""Tags of words and the entities they make: the schemes BIO and BIOES, without torch.

BIO (IOB2: Ratnaparkhi, 1998) writes B- on an entity's first word and I- on the others; BIOES tells the last word (E-) and
entities of a single word (S-) as well. A sentence is legal where no entity goes on that hasn't begun, and, in BIOES, every
entity is closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

OUTSIDE = "O"
"""Tag of a word that belongs to no entity."""
Scheme = Literal["bio", "bioes", "none"]
Wanted = Literal["auto", "bio", "bioes", "none"]
PREFIXES: dict[Scheme, str] = {"bio": "BI", "bioes": "BIES", "none": ""}
PARTS = re.compile(r"([BIES])-(.+)")


class Entity(NamedTuple):
    """Words `start` to `end`, the latter not included."""

    type: str
    start: int
    end: int


def scheme_of(names: Iterable[str], wanted: Wanted = "auto") -> Scheme:
    """The scheme that is wanted, or that the tags are written in; none where that is neither."""
    if wanted != "auto":
        return wanted
    schemes: tuple[Scheme, ...] = ("bio", "bioes")
    used = {name for name in names if name != OUTSIDE}
    return next((scheme for scheme in schemes if used and misfit(used, scheme) is None), "none")


def misfit(names: Iterable[str], scheme: Scheme) -> str | None:
    """The first tag that isn't written in the scheme, None where all are."""
    if scheme == "none":
        return None
    found = ((name, PARTS.fullmatch(name)) for name in names if name != OUTSIDE)
    return next((name for name, match in found if not match or match[1] not in PREFIXES[scheme]), None)


def misfit_message(tag: str, names: Iterable[str], scheme: Scheme) -> tuple[str, str]:
    """Message and remedy for a tag that isn't written in the scheme that the recipe names."""
    remedy = f"tagging.scheme={scheme_of(names)}, or tags such as {PREFIXES[scheme][0]}-PER"
    return f"tagging.scheme={scheme}, but there is the tag {tag!r}", remedy


def parts(tag: str, scheme: Scheme) -> tuple[str, str]:
    """(prefix, type of entity) of a tag other than O; under `none` every tagged word is an entity by itself."""
    found = PARTS.fullmatch(tag)
    return ("S", tag) if scheme == "none" or found is None else (found[1], found[2])


def types(names: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Types of entity, sorted."""
    return tuple(sorted({parts(name, scheme)[1] for name in names if name != OUTSIDE}))


def complete(names: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """The tags with those that the same types may need besides; as given where none is missing, otherwise sorted."""
    wanted = {f"{prefix}-{kind}" for kind in types(names, scheme) for prefix in PREFIXES[scheme]}
    if scheme == "none" or wanted | {OUTSIDE} <= set(names):
        return tuple(names)
    return tuple(sorted(wanted | {OUTSIDE}))


def follows(before: str | None, after: str | None, scheme: Scheme) -> bool:
    """Whether `after` may stand behind `before`; None is the beginning and the end of a sentence."""
    if scheme == "none":
        return True
    opening, kind = ("", "") if before in (None, OUTSIDE) else parts(str(before), scheme)
    closing, other = ("", "") if after in (None, OUTSIDE) else parts(str(after), scheme)
    is_open, goes_on = opening in ("B", "I"), closing in ("I", "E")
    if goes_on:
        return is_open and kind == other
    return scheme == "bio" or not is_open


def as_iob1(before: str | None, after: str | None) -> bool:
    """Whether the older IOB1 writes `after` behind `before`: B- stands only right behind an entity of the same type."""
    if after in (None, OUTSIDE):
        return True
    prefix, kind = parts(str(after), "bio")
    return prefix == "I" or (
        prefix == "B" and before not in (None, OUTSIDE) and parts(str(before), "bio")[1] == kind
    )


def entities(tags: Sequence[str], scheme: Scheme) -> list[Entity]:
    """Entities in reading order, illegal ones too: one that is continued but never began begins there."""
    found: list[Entity] = []
    start = 0
    before = OUTSIDE
    for place, tag in enumerate((*tags, OUTSIDE)):
        goes_on = before != OUTSIDE and tag != OUTSIDE and _goes_on(before, tag, scheme)
        if before != OUTSIDE and not goes_on:
            found.append(Entity(parts(before, scheme)[1], start, place))
        if not goes_on:
            start = place
        before = tag
    return found


def _goes_on(before: str, tag: str, scheme: Scheme) -> bool:
    opening, kind = parts(before, scheme)
    prefix, other = parts(tag, scheme)
    return prefix in ("I", "E") and opening in ("B", "I") and kind == other


def tags_of(entity: Entity, scheme: Scheme) -> list[str]:
    """How the scheme writes an entity."""
    length = entity.end - entity.start
    if scheme == "none":
        return [entity.type] * length
    inside = "I" * (length - 1)
    prefixes = "B" + inside
    if scheme == "bioes":
        prefixes = "S" if length == 1 else prefixes[:-1] + "E"
    return [f"{prefix}-{entity.type}" for prefix in prefixes]


def rewritten(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The same entities in legal tags: what the older IOB1 leaves without a B- gets one."""
    legal = [OUTSIDE] * len(tags)
    for entity in entities(tags, scheme):
        legal[entity.start : entity.end] = tags_of(entity, scheme)
    return legal


def strict_entities(tags: Sequence[str], scheme: Scheme) -> list[Entity]:
    """Entities that are written as the scheme says."""
    return [
        entity
        for entity in entities(tags, scheme)
        if list(tags[entity.start : entity.end]) == tags_of(entity, scheme)
    ]
