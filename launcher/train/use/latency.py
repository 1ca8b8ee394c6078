"""How long a model takes for one text on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

TOKENS = 32
"""Tokens of the text that is timed: a sentence."""
WARMUP = 5
REPEATS = 40


def measure_latency(model: torch.nn.Module, device: torch.device) -> float:
    """Milliseconds of the median forward pass over one text of TOKENS tokens, in float32, as plain transformers."""
    (found,) = measure_latencies([model], device)
    return found


def measure_latencies(models: Sequence[torch.nn.Module], device: torch.device) -> list[float]:
    """`measure_latency` of several models turn by turn, so that whatever else the machine does slows all alike."""
    inputs = [_inputs(model.eval(), device) for model in models]
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for _ in range(WARMUP + REPEATS):
            for model, given, times in zip(models, inputs, seconds, strict=True):
                started = time.perf_counter()
                model(**given)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - started)
    return [1000 * statistics.median(times[WARMUP:]) for times in seconds]


def _inputs(model: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """A made-up text: the time doesn't depend on which tokens there are."""
    length = min(TOKENS, int(getattr(model.config, "max_position_embeddings", 0) or TOKENS) - 2)
    ids = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids.unsqueeze(1)
    ids = ids.to(device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
