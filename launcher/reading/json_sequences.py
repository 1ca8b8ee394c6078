"""JSON values one after the other where a format has them otherwise: what such a file is, and what makes it readable."""

from __future__ import annotations

from pathlib import Path

from launcher.reading.messages import into_new

LINES = "begins a second object: the file is JSON lines, an object on each line"
NAMES = {"{": "object", "[": "list"}


def second_value(path: Path, document: str, at: int) -> tuple[str, str | None]:
    """Message and remedy where something stands in a document behind its first value, from character `at` on."""
    first, rest = document[:at].strip(), document[at:]
    kind = NAMES.get(first[0])
    if kind and rest[0] == "," and rest[1:].lstrip()[:1] == first[0]:
        return (
            f"has a comma and another {kind} behind the first",
            "write [ before the first and ] behind the last",
        )
    if not kind or rest[0] != first[0]:
        return "is not JSON: something stands behind its first value", None
    if kind == "list":
        return "begins a second list", f"make one list of them: jq -s add {into_new(path, '.json')}"
    if "\n" not in first and "\n" in document[len(first) : at]:
        return LINES, "data.format=jsonl"
    return (
        "begins a second object, not one list of them",
        f"make a list of them: jq -s . {into_new(path, '.json')}",
    )


def second_in_line(path: Path, rest: str) -> str:
    """What to do about the rest of a line behind its object."""
    if rest == ",":
        return "remove the comma at the end of the line"
    remedy = "write each object on a line of its own"
    return f"{remedy}: jq -c . {into_new(path, '.jsonl')}" if rest.startswith("{") else remedy
