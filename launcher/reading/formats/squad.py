"""Questions with answers in a paragraph, in the json of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.reading.json_values import parse
from launcher.reading.messages import mistake
from launcher.reading.options import ReadOptions
from launcher.reading.textfiles import whole_text
from launcher.tasks.shared.rows import Row


def rows(path: Path, _: ReadOptions) -> Iterator[Row]:
    """Each question of a SQuAD document as a row."""
    text = whole_text(path)
    if not text.strip():
        raise mistake(path, None, "is empty", "give SQuAD json")
    return questions(path, parse(path, None, text))


def is_squad(content: Any) -> bool:
    """Whether a json document is {"data": [{"paragraphs": ...}, ...]}."""
    articles = content.get("data") if isinstance(content, dict) else None
    return bool(
        isinstance(articles, list)
        and articles
        and isinstance(articles[0], dict)
        and "paragraphs" in articles[0]
    )


def questions(path: Path, content: Any) -> Iterator[Row]:
    """Each question as a row: id, title, question, context, answers ([{"text", "answer_start"}]) and is_impossible.

    Raises UserError naming the place within the document that is not as SQuAD has it.
    """
    if not is_squad(content):
        text = 'is not SQuAD json: {"data": [{"title": ..., "paragraphs": [...]}, ...]}'
        raise mistake(
            path, None, text, "data.format=json for a list of objects, data.format=jsonl for one a line"
        )
    for position, question in enumerate(_questions(path, content["data"]), start=1):
        yield Row(question, position)


def _questions(path: Path, articles: list[Any]) -> Iterator[dict[str, Any]]:
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_entries(path, article, f"data[{a}]", "paragraphs")):
            place = f"data[{a}].paragraphs[{p}]"
            context = _string(path, paragraph, place, "context")
            for q, asked in enumerate(_entries(path, paragraph, place, "qas")):
                yield {
                    "id": asked.get("id") if isinstance(asked, dict) else None,
                    "title": article.get("title"),
                    "question": _string(path, asked, f"{place}.qas[{q}]", "question"),
                    "context": context,
                    "answers": asked.get("answers", []),
                    "is_impossible": _flag(path, asked, f"{place}.qas[{q}]"),
                }


def _entries(path: Path, owner: Any, place: str, name: str) -> list[Any]:
    entries = owner.get(name) if isinstance(owner, dict) else None
    if not isinstance(entries, list):
        raise mistake(
            path, None, f"{place} has no list {name!r}", "mend the file: it is not SQuAD json there"
        )
    return entries


def _flag(path: Path, asked: dict[str, Any], place: str) -> bool:
    value = asked.get("is_impossible")
    if value is None:
        return False
    if not isinstance(value, bool):
        text = f"{place}: is_impossible is {value!r}, not true or false"
        raise mistake(path, None, text, "mend the file: it is not SQuAD json there")
    return value


def _string(path: Path, owner: Any, place: str, name: str) -> str:
    value = owner.get(name) if isinstance(owner, dict) else None
    if not isinstance(value, str):
        raise mistake(
            path, None, f"{place} has no text {name!r}", "mend the file: it is not SQuAD json there"
        )
    return value
