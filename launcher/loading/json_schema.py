"""JSON Schema of recipes and cluster profiles, for editors that complete keys and show what they mean."""

from __future__ import annotations

import inspect
from typing import Any

from launcher.recipe.fields import Record, Section, sentences

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(root: type[Section]) -> dict[str, Any]:
    """The schema of a file with these keys; every key has its sentence as description."""
    schema = root.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.get("$defs", {})
    _describe(schema, root)
    for section in (*Section.__subclasses__(), *Record.__subclasses__()):
        if section.__name__ in definitions:
            _describe(definitions[section.__name__], section)
    return {"$schema": DIALECT, **schema}


def _describe(schema: dict[str, Any], section: type[Record]) -> None:
    schema["description"] = inspect.cleandoc(section.__doc__ or "")
    for attribute, field in section.model_fields.items():
        schema["properties"][field.alias or attribute]["description"] = sentences(section)[attribute]
