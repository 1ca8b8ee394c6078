"""How long a model takes for one text on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
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
    """`measure_latency` of several models, turn by turn."""
    return in_turns([partial(_pass, model, _inputs(model.eval(), device)) for model in models], REPEATS)


def in_turns(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Milliseconds of the median of each call, turn by turn, so that whatever else the machine does slows all alike."""
    seconds: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(WARMUP + repeats):
            for call, times in zip(calls, seconds, strict=True):
                started = time.perf_counter()
                call()
                times.append(time.perf_counter() - started)
    return [1000 * statistics.median(times[WARMUP:]) for times in seconds]


def timed_length(config: Any) -> int:
    """Tokens of the text that is timed: TOKENS, or as many as the model holds."""
    return min(TOKENS, int(getattr(config, "max_position_embeddings", 0) or TOKENS) - 2)


def _pass(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    model(**inputs)
    if inputs["input_ids"].is_cuda:
        torch.cuda.synchronize(inputs["input_ids"].device)


def _inputs(model: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """A made-up text: the time doesn't depend on which tokens there are."""
    shape = (1, timed_length(model.config))
    ids = torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids.unsqueeze(1)
    ids = ids.to(device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
