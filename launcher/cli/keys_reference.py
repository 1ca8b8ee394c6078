"""docs/keys.md: every key of a recipe and of a cluster profile, made from the schema."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from launcher.loading.schema import default_text, expected
from launcher.recipe.cluster import Cluster
from launcher.recipe.decides import MEANINGS
from launcher.recipe.fields import Leaf, Section, leaves, sentences
from launcher.recipe.recipe import Recipe

INTRODUCTION = """\
# Keys

Made by `make docs` from the schema; don't edit it by hand.

A recipe is a YAML file of these keys, in sections: `train.lr` is `lr` indented under `train:`. On the command line a key
is given by its whole name, `train.lr=1e-5`, and in the environment as `LAUNCH_TRAIN__LR=1e-5`. `launch recipes show NAME`
prints the value of every key, and where it came from.
"""

DECISIONS = """\
## What a key decides
What depends on this is worked out from it, such as which tokenised data can be used again, and what a plan's id stands for.

| decides | which is |
|---|---|
"""


def keys_page() -> str:
    """The whole page."""
    decisions = "\n".join(f"| {subject} | {meaning} |" for subject, meaning in MEANINGS.items())
    parts = [INTRODUCTION, DECISIONS + decisions + "\n", "## Recipe\n", *_sections(Recipe)]
    return "\n".join([*parts, "## Cluster profile\n", *_sections(Cluster)])


def _sections(root: type[Section]) -> Iterator[str]:
    """A table for the top of a tree of sections and for each section in it, in the order of the schema."""
    tables: dict[str, list[Leaf]] = {}
    for leaf in leaves(root):
        tables.setdefault(leaf.name.rpartition(".")[0], []).append(leaf)
    for section, inside in tables.items():
        heading = f"### {section}\n\n" if section else ""
        rows = "\n".join(_row(leaf) for leaf in inside)
        text = inspect.cleandoc(inside[0].section.__doc__ or "")
        yield f"{heading}{text}\n\n| key | takes | default | decides | meaning |\n|---|---|---|---|---|\n{rows}\n"


def _row(leaf: Leaf) -> str:
    default = default_text(leaf)
    meaning = sentences(leaf.section)[leaf.attribute]
    shown = default if leaf.field.is_required() else f"`{default}`"
    cells = (f"`{leaf.name}`", expected(leaf.field), shown, ", ".join(leaf.subjects), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
