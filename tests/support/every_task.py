"""A few rows that every task can learn from, and a tiny recipe of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.training import recipe

from launcher.recipe.recipe import Recipe

ROWS = [
    {
        "text": f"anna saw {number % 4} birds",
        "other": f"the house number {number % 7}",
        "class": ("no", "yes")[number % 2],
        "classes": ["few"] if number % 4 < 2 else ["many", "loud"],
        "number": number % 4 / 3,
        "stars": number % 4 + 1,
        "words": ["anna", "saw", "birds"],
        "tags": [("O", "B-PER")[number % 2], "O", "O"],
        "answers": [{"text": "house", "answer_start": 4}],
        "choices": ["birds", "house"],
        "right": number % 2,
    }
    for number in range(40)
]
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"text": "text", "label": "class"},
    "multilabel": {"text": "text", "label": "classes"},
    "regression": {"text": "text", "label": "number"},
    "ordinal": {"text": "text", "label": "stars"},
    "token-classification": {"text": "words", "label": "tags"},
    "masked-lm": {"text": "text"},
    "question-answering": {"text": ["text", "other"], "label": "answers", "stride": 4},
    "multiple-choice": {"text": "text", "choices": "choices", "label": "right"},
    "ranking": {"text": ["text", "other"], "label": "number"},
    "embedding": {"text": ["text", "other"]},
}


def write_rows(directory: Path) -> Path:
    """rows.jsonl in this directory."""
    path = directory / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def recipe_of(file: Path, task: str, **changes: Any) -> Recipe:
    """A recipe that trains a BERT of width 32 on the rows for three steps; `changes` are laid over it."""
    data = {
        "train": str(file),
        "validation": str(file),
        "test": None,
        **TASKS[task],
        **changes.pop("data", {}),
    }
    train = {"lr": 1e-2, "max_steps": 3, **changes.pop("train", {})}
    return recipe(file.parent, task=task, data=data, train=train, **changes)
