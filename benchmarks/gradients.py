"""Whether our gradients are those of the padded model: relative errors as JSON on stdout.

    python -m benchmarks.gradients RECIPE

Takes the first global batch of the recipe's data, without dropout. fp32 is ours against the padded model's, bf16 is ours
against the padded model's in fp32, and "padded, bf16" is what the padded model itself loses in bf16. Rows that are "filled up"
are those that CUDA graphs compute.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from launcher import tasks
from launcher.loading.resolve import read_recipe_file
from launcher.train.model.unpadded import make_collate
from launcher.train.packed.packing import PackedCollate
from launcher.train.tasks import get_task


def main(recipe_file: Path) -> None:
    recipe = read_recipe_file(recipe_file)
    device = torch.device(recipe.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    tokenizer = AutoTokenizer.from_pretrained(recipe.model.name)
    rows = [json.loads(line) for line in Path(str(recipe.data.train)).read_text().splitlines()]
    rows = rows[: recipe.batch.global_]
    labels = torch.tensor([row["label"] for row in rows], device=device)
    texts = [[row[column] for row in rows] for column in tasks.of(recipe).text_columns]
    limits = {"truncation": True, "max_length": recipe.data.max_length}
    padded = tokenizer(*texts, padding=True, return_tensors="pt", **limits).to(device)
    encoded = tokenizer(*texts, **limits)
    if not has_types(recipe.model.name):
        padded.pop("token_type_ids", None)
        encoded.pop("token_type_ids", None)
    model = _model(recipe.model.name, device)
    exact = gradient(model, padded, labels, autocast=False)
    half = gradient(model, padded, labels, autocast=True)
    collate, notice = make_collate(get_task(recipe, tokenizer), tokenizer, model, device)
    assert notice is None, notice
    assert isinstance(collate, PackedCollate)
    errors = {"padded, bf16": error(half, exact)}
    for kind, filled in (("", False), (", filled up", True)):  # as steps are, one by one and as CUDA graphs
        collate = dataclasses.replace(collate, fill=filled)
        packed = collate(_split(encoded), np.arange(len(rows))).inputs
        errors[f"fp32{kind}"] = error(gradient(model, packed, labels, autocast=False), exact)
        errors[f"bf16{kind}"] = error(gradient(model, packed, labels, autocast=True), exact)
    print(json.dumps(errors))


def has_types(model: str | None) -> bool:
    """Whether a model tells the two texts of a pair apart."""
    config = json.loads((Path(str(model)) / "config.json").read_text())
    return bool(config["type_vocab_size"] > 1)


def _model(name: str | None, device: torch.device) -> Any:
    assert name is not None
    model = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32)
    return model.to(device).eval()


def _split(encoded: Any) -> Any:
    from launcher.train.tokens.cache import TokenSplit, offsets_of

    ids, types = encoded["input_ids"], encoded.get("token_type_ids")
    return TokenSplit(
        ids=np.concatenate([np.array(row, dtype=np.int32) for row in ids]),
        offsets=offsets_of([np.array([len(row) for row in ids])]),
        type_ids=None if types is None else np.concatenate([np.array(row, dtype=np.uint8) for row in types]),
    )


def gradient(model: Any, inputs: Any, labels: torch.Tensor, autocast: bool) -> torch.Tensor:
    """The whole gradient of the mean loss, flat, on the CPU in float64."""
    model.zero_grad()
    with torch.autocast(labels.device.type, dtype=torch.bfloat16, enabled=autocast):
        logits = model(**inputs).logits
    torch.nn.functional.cross_entropy(logits.float(), labels).backward()
    parts = [
        p.grad.flatten() if p.grad is not None else torch.zeros_like(p).flatten() for p in model.parameters()
    ]
    return torch.cat(parts).double().cpu()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
