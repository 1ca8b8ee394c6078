"""YAML in which a sentence above a key says why it has its value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from launcher.loading.yaml_source import dump
from launcher.recipe.recipe import nested
from launcher.tasks.shared.sample import Said

WIDTH = 110


def commented(keys: Mapping[str, Said], head: str) -> str:
    """A file of dotted keys in their order, each section once, with `head` as the comment at the top."""
    return comment(head) + _lines(nested(keys))


def _lines(tree: Mapping[str, Any], indent: str = "") -> str:
    """Values first, then sections, so that no value seems to belong to the section above it."""
    parts = []
    for name, value in sorted(tree.items(), key=lambda one: not isinstance(one[1], Said)):
        if isinstance(value, Said):
            parts.append(comment(value.why, indent) + dump({name: value.value}, indent))
        else:
            parts.append(("" if indent else "\n") + f"{indent}{name}:\n" + _lines(value, indent + "  "))
    return "".join(parts)


def comment(text: str, indent: str = "") -> str:
    """Text as lines of a comment; nothing for an empty one. Line breaks of the text stay."""
    mark = f"{indent}# "
    wrapped = [
        textwrap.fill(
            line,
            WIDTH,
            initial_indent=mark,
            subsequent_indent=mark,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for line in text.splitlines()
    ]
    return "".join(f"{line}\n" for line in wrapped)


def one_line(value: Any) -> str:
    """A value as it would be written in a recipe."""
    return dump({"value": value}).removeprefix("value: ").rstrip("\n")
