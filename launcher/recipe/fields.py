"""What the values of a recipe may be, and the base of its sections."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

TIME_LIMIT = re.compile(r"\d+|\d+:\d{2}|\d+:\d{2}:\d{2}|\d+-\d+|\d+-\d+:\d{2}|\d+-\d+:\d{2}:\d{2}", re.ASCII)
MOST = 10**9
"""No count of anything here is larger."""
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _not_absurd(value: int) -> int:
    if value > MOST:
        raise ValueError(f"must be at most {MOST:,}")
    return value


def _safe_name(value: str) -> str:
    if not SAFE_NAME.fullmatch(value):
        raise ValueError("must be letters, digits, '.', '_' or '-', and start with a letter or digit")
    return value


def _one_line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def _time_limit(value: str) -> str:
    if not TIME_LIMIT.fullmatch(value):
        raise ValueError("must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS")
    if not value.strip("0:-"):
        raise ValueError(
            "must be more than 0, which Slurm takes for no limit at all; null leaves it to the partition"
        )
    return value


def _path_or_id(value: str) -> str:
    if value.startswith("-") or "#SBATCH" in value or not value.strip():
        raise ValueError("must not be empty, start with '-' or contain '#SBATCH'")
    return _one_line(value)


Name = Annotated[str, AfterValidator(_safe_name)]
Line = Annotated[str, AfterValidator(_one_line)]
PathOrId = Annotated[str, AfterValidator(_path_or_id)]
TimeLimit = Annotated[str, AfterValidator(_time_limit)]
Count = Annotated[int, Field(ge=1), AfterValidator(_not_absurd)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Warmup = Annotated[int, Field(ge=0), AfterValidator(_not_absurd)] | Annotated[float, Field(ge=0, lt=1)]
Every = Count | Literal["epoch"]
Files = PathOrId | Annotated[tuple[PathOrId, ...], Field(min_length=1)]


class Section(BaseModel):
    """Base of every section: unknown keys refused, values never coerced, frozen once made."""

    # Validators are built when they are first used: `launch plan` needs two of some forty sections' own.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        protected_namespaces=(),
        defer_build=True,
    )


@cache
def sentences(section: type[Section]) -> dict[str, str]:
    """The sentence below each key of a section, by attribute, read from its source (which is too slow for every start)."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not (issubclass(base, Section) and base.model_fields):
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
