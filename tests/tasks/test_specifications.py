"""What tasks say of themselves: how a model is tried, what is measured, and how a prediction is told."""

from __future__ import annotations

from typing import Any

import pytest

from launcher import tasks
from launcher.recipe.recipe import Recipe


def task(name: str, **data: Any) -> Any:
    return tasks.of(Recipe.model_validate({"task": name, "data": data}))


@pytest.mark.parametrize(
    ("name", "data", "texts"),
    [
        ("classification", {}, ("a sentence of yours",)),
        ("classification", {"text": ("premise", "claim")}, ("the first text", "the second")),
        ("masked-lm", {}, ("The capital of France is [MASK].",)),
        ("question-answering", {"text": ("q", "c")}, ("a question", "the text that answers it")),
        ("ranking", {"text": ("q", "d")}, ("a query", "a document")),
        ("multiple-choice", {"choices": ("a", "b", "c")}, ("a question", "choice A", "choice B", "choice C")),
        ("multiple-choice", {"choices": "list"}, ("a question", "choice A", "choice B")),
    ],
)
def test_a_model_is_tried_with_texts_of_its_kind(
    name: str, data: dict[str, Any], texts: tuple[str, ...]
) -> None:
    spec = task(name, **data)
    assert spec.sample_texts() == texts
    assert len(spec.rows_of(texts)) == 1


def test_predicted_tags_are_told_with_their_words() -> None:
    found = {
        "text": "Anna saw Rome",
        "prediction": ["B-PER", "O", "B-LOC"],
        "entities": [{"type": "PER", "text": "Anna"}, {"type": "LOC", "text": "Rome"}],
    }
    assert task("token-classification").told(found) == "Anna/B-PER saw/O Rome/B-LOC   PER: Anna  LOC: Rome"
    assert task("classification").told(found) is None
