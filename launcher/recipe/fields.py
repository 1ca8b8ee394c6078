"""What the values of a recipe may be, and the base of its sections."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from launcher.recipe.decides import Decides, Subject

TIME_LIMIT = re.compile(r"\d+|\d+:\d{2}|\d+:\d{2}:\d{2}|\d+-\d+|\d+-\d+:\d{2}|\d+-\d+:\d{2}:\d{2}", re.ASCII)
MOST = 10**9
"""No count of anything here is larger."""
RANGE_OF_NODES = re.compile(r"([1-9][0-9]{0,8})\.\.([1-9][0-9]{0,8})")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _not_absurd(value: int) -> int:
    if value > MOST:
        raise ValueError(f"must be at most {MOST:,}")
    return value


def _safe_name(value: str) -> str:
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(
            "must be letters, digits, '.', '_' or '-', 100 at most, and start with a letter or digit"
        )
    return value


def _one_line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def _time_limit(value: str) -> str:
    if not TIME_LIMIT.fullmatch(value):
        raise ValueError(
            f"must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS{_as_slurm_has_it(value)}"
        )
    if not value.strip("0:-"):
        raise ValueError(
            "must be more than 0, which Slurm takes for no limit at all; null leaves it to the partition"
        )
    return value


def _range_of_nodes(value: str) -> str:
    found = RANGE_OF_NODES.fullmatch(value)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError(
            "must be a whole number of at least 1, or a range such as 2..4, the smaller number first"
        )
    return value


def _as_slurm_has_it(value: str) -> str:
    """What `1h`, `90m` or `2d` is there."""
    found = re.fullmatch(r"([0-9]{1,4}) ?(m|min|h|d)", value)
    if found is None:
        return ""
    number, unit = found.groups()
    written = {"h": f"{number}:00:00", "d": f"{number}-00"}.get(unit, number)
    return f"; {value} is {written}"


def _path_or_id(value: str) -> str:
    if value.startswith("-") or "#SBATCH" in value or not value.strip():
        raise ValueError("must not be empty, start with '-' or contain '#SBATCH'")
    return _one_line(value)


def _local_path(value: str) -> str:
    return _path_or_id(value)


def _shown(pattern: re.Pattern[str]) -> Any:
    """What the schema for editors says of a string that a validator of ours looks at."""
    return Field(json_schema_extra={"pattern": f"^(?:{pattern.pattern})$"})


Name = Annotated[str, AfterValidator(_safe_name), _shown(SAFE_NAME)]
Line = Annotated[str, AfterValidator(_one_line)]
PathOrId = Annotated[str, AfterValidator(_path_or_id)]
LocalPath = Annotated[str, AfterValidator(_local_path)]
"""Relative ones are made absolute when a recipe is loaded."""
TimeLimit = Annotated[str, AfterValidator(_time_limit), _shown(TIME_LIMIT)]
Count = Annotated[int, Field(ge=1), AfterValidator(_not_absurd)]
Nodes = Count | Annotated[str, AfterValidator(_range_of_nodes), _shown(RANGE_OF_NODES)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Warmup = Annotated[int, Field(ge=0), AfterValidator(_not_absurd)] | Annotated[float, Field(ge=0, lt=1)]
Every = Count | Literal["epoch"]
Files = LocalPath | Annotated[tuple[LocalPath, ...], Field(min_length=1)]


class Record(BaseModel):
    """Base of what is written and read back: unknown keys refused, values never coerced, frozen once made."""

    # Validators are built when they are first used: `launch plan` needs two of some forty sections' own.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        protected_namespaces=(),
        defer_build=True,
    )


class Section(Record):
    """Base of every section of a recipe or a cluster profile; a key that doesn't say what it decides can't be written."""

    decides: ClassVar[Decides | None] = None
    """What keys decide that don't say it themselves."""

    @classmethod
    def default(cls) -> Self:
        """The section where nothing of it is given. A call would build a validator, which takes 3 to 8 ms for each."""
        return cls.model_construct()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for leaf in own_leaves(cls):
            if not leaf.subjects:
                raise TypeError(
                    f"{cls.__name__}.{leaf.name} must say what it decides: see launcher.recipe.decides"
                )


@dataclass(frozen=True)
class Leaf:
    """A key that holds a value, and no section."""

    name: str
    """Its dotted name."""
    section: type[Section]
    attribute: str
    field: FieldInfo

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What it decides."""
        own = next((part for part in self.field.metadata if isinstance(part, Decides)), self.section.decides)
        return () if own is None else own.subjects


def own_leaves(section: type[Section]) -> Iterator[Leaf]:
    """The keys with a value that stand directly in a section."""
    for attribute, field in section.model_fields.items():
        if section_in(field) is None:
            yield Leaf(field.alias or attribute, section, attribute, field)


@cache
def leaves(section: type[Section], prefix: str = "") -> tuple[Leaf, ...]:
    """Every key with a value in a section and those in it, in the order of the schema."""
    found: list[Leaf] = []
    for attribute, field in section.model_fields.items():
        name, inner = prefix + (field.alias or attribute), section_in(field)
        found += [Leaf(name, section, attribute, field)] if inner is None else leaves(inner, name + ".")
    return tuple(found)


def section_in(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds; None where it holds a value."""
    annotation: Any = field.annotation
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


@cache
def sentences(section: type[Section]) -> dict[str, str]:
    """The sentence below each key of a section, by attribute, read from its source (which is too slow for every start)."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not (issubclass(base, Record) and base.model_fields):
            continue
        try:
            source = inspect.getsource(base)
        except OSError:  # installed without it
            continue
        (definition,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(definition, ast.ClassDef)
        for line, below in pairwise(definition.body):
            match line, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = inspect.cleandoc(text)
    return found
