"""Names of classes that the library `datasets` writes into a parquet file, whose cells hold only their numbers.

They stand in the file's metadata as JSON: {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

KEY = b"huggingface"
LISTS = ("Sequence", "List", "LargeList")
"""How the library names the type of a list."""


def names_given(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What is said of each column that holds classes, somewhere within; nothing where nobody says it."""
    try:
        features = json.loads(metadata[KEY])["info"]["features"]
        return {str(name): feature for name, feature in features.items() if _holds_classes(feature)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):  # nothing, or another library's
        return {}


def names_at(features: Mapping[str, Any], column: str) -> tuple[str, ...] | None:
    """The classes of a column, or of what its dotted name reaches, in their order; None where nobody declares them."""
    first, *steps = [column] if column in features else column.split(".")
    feature = _element(features.get(first))
    for step in steps:
        feature = _element(feature.get(step)) if isinstance(feature, Mapping) else None
    return tuple(feature["names"]) if isinstance(feature, Mapping) and _is_class(feature) else None


def _element(feature: Any) -> Any:
    """What a list holds, of however many levels; every other feature as it is."""
    while isinstance(feature, list) or (isinstance(feature, Mapping) and feature.get("_type") in LISTS):
        feature = feature[0] if isinstance(feature, list) else feature.get("feature")
    return feature


def with_names(value: Any, names: Sequence[str]) -> Any:
    """A number as the name of its class, also within lists; None for one without a name, which says that there is no label."""
    if isinstance(value, list):
        return [with_names(item, names) for item in value]
    if type(value) is not int:
        return value
    return names[value] if 0 <= value < len(names) else None


def named(value: Any, feature: Any) -> Any:
    """A cell of which `feature` says where in it there are classes."""
    if isinstance(feature, list):
        feature = {"feature": feature[0]}
    if _is_class(feature):
        return with_names(value, feature["names"])
    if isinstance(value, list):
        return [named(item, feature.get("feature", feature)) for item in value]
    if isinstance(value, dict):
        inner = feature.get("feature", feature)
        return {key: named(item, inner[key]) if key in inner else item for key, item in value.items()}
    return value


def _is_class(feature: Mapping[str, Any]) -> bool:
    names = feature.get("names")
    return (
        feature.get("_type") == "ClassLabel"
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def _holds_classes(feature: Any) -> bool:
    if isinstance(feature, list):
        return len(feature) == 1 and _holds_classes(feature[0])
    if not isinstance(feature, Mapping):
        return False
    return _is_class(feature) or any(map(_holds_classes, feature.values()))
