"""Python that uses a model with transformers alone: the parts that several tasks share."""

from __future__ import annotations

import json
from collections.abc import Sequence

HEAD_FILE = "launcher_head.safetensors"
"""What a model directory holds besides what transformers loads, where a task has parameters of its own."""


def literal(value: object) -> str:
    """A value as Python writes it, texts in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | list) else repr(value)


def piped(kind: str, model: str, texts: Sequence[str], options: str = "") -> str:
    """A pipeline of transformers on a text, or on a pair."""
    given = literal(texts[0])
    if len(texts) == 2:
        given = f'{{"text": {literal(texts[0])}, "text_pair": {literal(texts[1])}}}'
    return (
        "from transformers import pipeline\n\n"
        f'use = pipeline("{kind}", model={literal(model)}{options})\n'
        f"print(use({given}))\n"
    )


def loaded(auto_class: str, model: str, head: str | None = None) -> str:
    """Tokenizer and model; `head` is the name of the tensor that is read from HEAD_FILE."""
    lines = [
        "import torch",
        *(["from safetensors.torch import load_file"] if head else []),
        f"from transformers import {', '.join(sorted((auto_class, 'AutoTokenizer')))}",
        *(["from transformers.utils import cached_file"] if head else []),
        "",
        f"name = {literal(model)}",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        f"model = {auto_class}.from_pretrained(name).eval()",
        *([f'{head} = load_file(cached_file(name, "{HEAD_FILE}"))["{head}"]'] if head else []),
    ]
    return "\n".join(lines) + "\n"


def encoded(texts: Sequence[str]) -> str:
    """The call of the tokenizer on a text, or on a pair."""
    given = ", ".join(map(literal, texts))
    return f'inputs = tokenizer({given}, return_tensors="pt", truncation=True)\n'
