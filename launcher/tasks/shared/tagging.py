"""Tags of words and the entities they make: the schemes BIO and BIOES as data write them, without torch.

BIO (IOB2: Ratnaparkhi, 1998) writes B- on an entity's first word and I- on the others; BIOES tells the last word (E-) and
entities of a single word (S-) as well, and is also written with other letters (BMES, BMEWO, BILOU). A sentence is legal where
no entity goes on that hasn't begun, and, in BIOES, every entity is closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple

OUTSIDE = "O"
"""Tag of a word that belongs to no entity."""
Name = Literal["bio", "bioes", "none"]
Wanted = Literal["auto", "bio", "bioes", "none"]


class Scheme(NamedTuple):
    """How tags make entities, and how they are written."""

    name: Name
    letters: str = ""
    """What stands for B, I, E and S, in this order; BIO has the first two."""
    form: str = "{letter}-{type}"

    @property
    def parts(self) -> str:
        """Those of B, I, E and S that the scheme has."""
        return "BIES"[: len(self.letters)]

    def tag(self, part: str, kind: str) -> str:
        """The tag of a word that is part B, I, E or S of an entity of type `kind`."""
        return self.form.format(letter=self.letters[self.parts.index(part)], type=kind)


BIO, BIOES, NONE = Scheme("bio", "BI"), Scheme("bioes", "BIES"), Scheme("none")
LETTERS: tuple[tuple[Name, str], ...] = (
    ("bio", "BI"),
    ("bioes", "BIES"),
    ("bioes", "BMES"),
    ("bioes", "BMEW"),
    ("bioes", "BILU"),
)
"""BIO, BIOES, BMES, BMEWO and BILOU."""
FORMS = ("{letter}-{type}", "{letter}_{type}", "{type}-{letter}", "{type}_{letter}", "{letter}")
SPELLINGS = (
    *(Scheme(name, letters, form) for form in FORMS for name, letters in LETTERS),
    *(Scheme(name, letters.lower(), FORMS[0]) for name, letters in LETTERS),
)
"""Every way of writing tags that is known, the usual ones first; without a type all entities have the type ""."""
MOST = 0.5
"""Where more of the tagged words than this are written in one way, the others are taken for mistakes."""
JOINT_TAGS = re.compile(r"(?:O|[BIESMLUW][-_][^,;|]+)(?:[,;|](?:O|[BIESMLUW][-_][^,;|]+))+")
"""Several tags that stand together without blanks."""
LIKE_OUTSIDE = ("0", "o", "\uff2f", "OO", "OUT", "-", "_")
"""What O is mistyped as, or called."""


class Entity(NamedTuple):
    """Words `start` to `end`, the latter not included."""

    type: str
    start: int
    end: int


def scheme_of(names: Iterable[str], wanted: Wanted = "auto") -> Scheme:
    """The scheme that is wanted, or that the tags are written in, as they write it; none where that is neither."""
    used = {name for name in names if name != OUTSIDE}
    for scheme in _spellings(wanted):
        if used and misfit(used, scheme) is None and _is_begun(used, scheme):
            return scheme
    return {"bio": BIO, "bioes": BIOES}.get(wanted, NONE)


def _spellings(wanted: Wanted) -> Iterator[Scheme]:
    return (scheme for scheme in SPELLINGS if wanted in ("auto", scheme.name))


def _is_begun(used: Iterable[str], scheme: Scheme) -> bool:
    """Whether unusual forms of tags have what makes them tags of entities: one that begins, and in bare ones another."""
    if scheme.form == FORMS[0]:
        return True
    found = {parts(name, scheme)[0] for name in used}
    return "B" in found and (len(found) > 1 or scheme.form != "{letter}")


def misfit(names: Iterable[str], scheme: Scheme) -> str | None:
    """The first tag that isn't written in the scheme, None where all are."""
    return next(iter(misfits(names, scheme)), None)


def misfits(names: Iterable[str], scheme: Scheme) -> list[str]:
    """The tags that aren't written in the scheme."""
    if scheme == NONE:
        return []
    return [name for name in names if name != OUTSIDE and _read(name, scheme) is None]


def meant(counts: Mapping[str, int]) -> Scheme | None:
    """The scheme that more than half of the tagged words are written in, all but some; None where there is none."""
    tagged = {name: count for name, count in counts.items() if name not in (OUTSIDE, *LIKE_OUTSIDE)}
    found: dict[Scheme, int] = {}
    for scheme in SPELLINGS:
        odd = set(misfits(tagged, scheme))
        fits = [name for name in tagged if name not in odd]
        if {"B", "I"} & {parts(name, scheme)[0] for name in fits} and _is_begun(fits, scheme):
            found[scheme] = sum(tagged[name] for name in fits)
    best = max(found, key=lambda scheme: found[scheme], default=NONE)
    return best if found.get(best, 0) > MOST * sum(tagged.values()) else None


def odd_tag(counts: Mapping[str, int], scheme: Scheme) -> tuple[str, Scheme] | None:
    """A tag that is probably a mistake where tags were found to be of `scheme`, and the scheme that the others are of."""
    if scheme == NONE:
        likely = meant(counts)
        return None if likely is None else (misfits(counts, likely)[0], likely)
    closing = half_closed(counts, scheme)
    return None if closing is None else (closing, scheme._replace(name="bio", letters=scheme.letters[:2]))


def half_closed(counts: Mapping[str, int], scheme: Scheme) -> str | None:
    """The first closing tag, where so few entities are closed that BIO is meant rather than a scheme that closes all."""
    if scheme.name != "bioes":
        return None
    of_part = dict.fromkeys("BIES", 0)
    for name, count in counts.items():
        if name != OUTSIDE and _read(name, scheme) is not None:
            of_part[parts(name, scheme)[0]] += count
    if 2 * of_part["E"] >= of_part["B"]:
        return None
    return next((name for name in counts if name != OUTSIDE and parts(name, scheme)[0] in "ES"), None)


def odd_message(tag: str, likely: Scheme) -> tuple[str, str]:
    """Message and remedy for a tag among others that are of another scheme."""
    others = f"{likely.tag('B', 'X')} and {likely.tag('I', 'X')}"
    text = f"the tag {tag!r} is not one of {likely.name.upper()}, which most tags are written in ({others})"
    meant_so = "bioes" if likely.name == "bio" and re.match("[ESLUMW][-_]", tag) else "none"
    hint = f"did you mean {OUTSIDE!r}? " if tag in LIKE_OUTSIDE else ""
    return text, f"{hint}mend the tag, or tagging.scheme={meant_so} if it is meant"


def misfit_message(tag: str, names: Iterable[str], scheme: Scheme) -> tuple[str, str]:
    """Message and remedy for a tag that isn't written in the scheme that the recipe names."""
    remedy = f"tagging.scheme={scheme_of(names).name}, or tags such as {scheme.tag('B', 'PER')}"
    return f"tagging.scheme={scheme.name}, but there is the tag {tag!r}", remedy


def parts(tag: str, scheme: Scheme) -> tuple[str, str]:
    """(B, I, E or S, type of entity) of a tag other than O; under `none` every tagged word is an entity by itself."""
    return _read(tag, scheme) or ("S", tag)


@lru_cache(maxsize=1 << 16)
def _read(tag: str, scheme: Scheme) -> tuple[str, str] | None:
    if scheme == NONE:
        return None
    letter, kind = f"(?P<letter>[{scheme.letters}])", "(?P<type>.+)"
    found = re.fullmatch(scheme.form.format(letter=letter, type=kind), tag)
    if found is None:
        return None
    return scheme.parts[scheme.letters.index(found["letter"])], found.groupdict().get("type", "")


def types(names: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Types of entity, sorted."""
    return tuple(sorted({parts(name, scheme)[1] for name in names if name != OUTSIDE}))


def complete(names: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """The tags with those that the same types may need besides; as given where none is missing, otherwise sorted."""
    wanted = {scheme.tag(part, kind) for kind, part in product(types(names, scheme), scheme.parts)}
    if scheme == NONE or wanted | {OUTSIDE} <= set(names):
        return tuple(names)
    return tuple(sorted(wanted | {OUTSIDE}))


def follows(before: str | None, after: str | None, scheme: Scheme) -> bool:
    """Whether `after` may stand behind `before`; None is the beginning and the end of a sentence."""
    if scheme == NONE:
        return True
    opening, kind = ("", "") if before in (None, OUTSIDE) else parts(str(before), scheme)
    closing, other = ("", "") if after in (None, OUTSIDE) else parts(str(after), scheme)
    is_open, goes_on = opening in ("B", "I"), closing in ("I", "E")
    if goes_on:
        return is_open and kind == other
    return scheme.name == "bio" or not is_open


def as_iob1(before: str | None, after: str | None, scheme: Scheme = BIO) -> bool:
    """Whether the older IOB1 writes `after` behind `before`: B- stands only right behind an entity of the same type."""
    if after in (None, OUTSIDE):
        return True
    prefix, kind = parts(str(after), scheme)
    return prefix == "I" or (
        prefix == "B" and before not in (None, OUTSIDE) and parts(str(before), scheme)[1] == kind
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
    if scheme == NONE:
        return [entity.type] * length
    written = "B" + "I" * (length - 1)
    if scheme.name == "bioes":
        written = "S" if length == 1 else written[:-1] + "E"
    return [scheme.tag(part, entity.type) for part in written]


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
