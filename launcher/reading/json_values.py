"""JSON as data files hold it: each object a row, NaN an empty cell, and what to say of everything else."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from launcher.errors import UserError
from launcher.reading.json_sequences import second_in_line, second_value
from launcher.reading.messages import into_new, mistake
from launcher.recipe.data_formats import FORMATS
from launcher.tasks.shared.rows import Value, shown

AS_OBJECTS = 'write a list of objects: [{"text": ..., "label": ...}, ...]'
AS_CHOICES = (
    'write a list of objects, such as {"text": ..., "label": ...}, or a row for each question: '
    '{"context": ..., "question": ..., "choices": [...], "answer": ...} (docs/data.md converts C3)'
)
AS_RECORDS = 'write a list of objects; from pandas: df.to_json(FILE, orient="records")'


def parse(path: Path, position: int | None, text: str) -> Any:
    """The content of a JSON document, or of a line where `position` is given; UserError where it isn't JSON."""
    try:
        content = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no character
        return content
    except UnicodeEncodeError as error:
        text = f"holds half a surrogate pair: {error.object[error.start]!r}"
        raise mistake(path, position, text, None) from None
    except json.JSONDecodeError as error:
        raise _no_json(path, position, error) from None
    except RecursionError:
        raise mistake(path, position, "is JSON nested too deep to be read", "are these data?") from None
    except KeyError as error:
        text = f"an object names {shown(error.args[0])} more than once"
        raise mistake(path, position, text, "keep one") from None
    except ValueError:  # Python converts no longer number, so that none takes minutes
        text = f"holds a number of more than {sys.get_int_max_str_digits():,} digits"
        raise mistake(path, position, text, "write it as text") from None


def record(path: Path, position: int, content: Any) -> dict[str, Value]:
    """The cells of one row; UserError where `content` isn't an object."""
    if not isinstance(content, dict):
        text = f"is not an object with named fields, but {json.dumps(content)[:60]}"
        named = _named_columns(content, ".", path)
        raise mistake(path, position, text, named or 'write {"text": ..., "label": ...}')
    return content


def _named_columns(content: Any, each: str, path: Path) -> str | None:
    """The command that gives names to the values of lists, of which `content` is one; None where these aren't plain."""
    if not isinstance(content, list) or any(isinstance(value, list | dict) for value in content):
        return None
    names = ", ".join(f"column{number}: .[{number - 1}]" for number in range(1, len(content) + 1))
    return f"give names to its values: jq -c '{each} | {{{names}}}' {into_new(path, '.jsonl')}"


def records(path: Path, content: Any) -> list[Any]:
    """The list of rows that a JSON document holds, by itself or under the key `data`."""
    if isinstance(content, dict) and "columns" in content:  # as pandas writes orient="split"
        raise mistake(path, 1, "holds the names of columns and lists of values apart", AS_RECORDS)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        raise _no_list(path, content)
    if content and isinstance(content[0], list):
        remedy = _named_columns(content[0], ".[]", path) or AS_CHOICES
        raise mistake(path, 1, "is a list of values without names", remedy)
    return content


def is_columns(content: Any) -> bool:
    """Whether an object holds columns as pandas writes them: each an object whose names count the rows from 0."""
    columns = list(content.values()) if isinstance(content, dict) else []
    numbered = (isinstance(column, dict) and list(column)[:2] == ["0", "1"] for column in columns)
    return bool(columns) and all(numbered)


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; KeyError where a name stands in it twice, which json would forget silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise KeyError(name)
    return found


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)
"""Made once: that halves the time of a line."""


def _no_json(path: Path, position: int | None, error: json.JSONDecodeError) -> UserError:
    message = f"is not JSON: {error.msg} at column {error.colno}"
    rest, remedy = error.doc[error.pos :], None
    if error.msg == "Extra data" and position is None:
        message, remedy = second_value(path, error.doc, error.pos)
    elif error.msg == "Extra data":
        remedy = second_in_line(path, rest.strip())
    elif error.msg == "Illegal trailing comma before end of array" or rest[:1] in ("]", "}"):
        remedy = "remove the comma before it"
    elif error.msg.startswith("Unterminated"):
        remedy = "is the file whole?"
    elif error.pos == 0 and position in (None, 1) and rest[:1].isalpha():
        remedy = "this is no JSON: data.format says what it is, one of " + ", ".join(FORMATS)
    elif rest[:1] == "'":
        remedy = "JSON has double quotes; Python's json.dumps writes them"
    elif rest[:1] in ("/", "#"):
        remedy = "take comments out: JSON has none"
    return mistake(path, error.lineno if position is None else position, message, remedy)


def _no_list(path: Path, content: Any) -> UserError:
    text = 'is neither a list of objects nor {"data": [...]}'
    if not isinstance(content, dict):
        return mistake(path, None, text, AS_OBJECTS)
    if lists := _lists_by_name(content):
        them, first = "it" if len(lists) == 1 else "each", json.dumps(lists[0])
        remedy = f"write {them} to a file of its own: jq '.[{first}]' {into_new(path, '.json')}"
        return mistake(path, None, f"holds lists by name: {', '.join(lists[:5])}", remedy)
    if content and all(isinstance(value, dict | list) for value in content.values()):
        if _are_rows(content):
            return mistake(
                path, None, "holds rows by name, not a list of them", f"jq '[.[]]' {into_new(path, '.json')}"
            )
        return mistake(path, None, "holds columns, not rows", AS_RECORDS)
    return mistake(path, None, "holds one object, not a list of them", "write it between [ and ]")


def _are_rows(content: dict[str, Any]) -> bool:
    """Whether an object names rows: objects with the same names, which don't count rows as those of columns do."""
    first, *others = content.values()
    return (
        isinstance(first, dict)
        and not any(name.isdecimal() for name in first)
        and all(isinstance(other, dict) and other.keys() == first.keys() for other in others)
    )


def _lists_by_name(content: dict[str, Any]) -> list[str]:
    """The names of lists of rows; columns of lists are all of one length."""
    lists = {name: value for name, value in content.items() if isinstance(value, list) and value}
    of_lists = len(set(map(len, lists.values()))) > 1
    return [
        name
        for name, value in lists.items()
        if isinstance(value[0], dict) or (of_lists and isinstance(value[0], list))
    ]
