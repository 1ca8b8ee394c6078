"""How long a model takes for one text on this machine."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

TOKENS = 32
"""Tokens of the text that is timed: a sentence."""
WARMUP = 5
REPEATS = 40


def measure_latency(model: torch.nn.Module, device: torch.device) -> float:
    """Milliseconds of the median forward pass over one text of TOKENS tokens, in float32, as plain transformers."""
    model.eval()
    inputs = _inputs(model, device)
    seconds = []
    with torch.inference_mode():
        for _ in range(WARMUP + REPEATS):
            started = time.perf_counter()
            model(**inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[WARMUP:])


def _inputs(model: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """A made-up text: the time doesn't depend on which tokens there are."""
    length = min(TOKENS, int(getattr(model.config, "max_position_embeddings", 0) or TOKENS) - 2)
    ids = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids.unsqueeze(1)
    ids = ids.to(device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
