"""What the peers' scripts measure of themselves: times of steps and of the evaluation, scores and labels."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

Moment = tuple[float, float]
"""Wall-clock and CPU time."""


def now() -> Moment:
    """When all work that was given to a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.time(), time.process_time()


@dataclass
class Timed:
    """Moments of one training."""

    first: Moment | None = None
    """The end of the first step."""
    steps: int = 0
    last: Moment = field(default=(0.0, 0.0))
    """The end of the last step."""

    def step(self) -> None:
        """After each step; a GPU is waited for after the first."""
        self.steps += 1
        if self.first is None:
            self.first = now()

    def trained(self) -> None:
        """After the training."""
        self.last = now()

    def write(self, job: Path, evaluated: tuple[Moment, Moment], scores: Any, labels: Any) -> None:
        """Leave result.json, scores.npy and labels.npy; `evaluated` is the begin and the end of the evaluation."""
        assert self.first is not None
        begun, ended = evaluated
        np.save(job / "scores.npy", np.asarray(scores, dtype=np.float32))
        np.save(job / "labels.npy", np.asarray(labels))
        found = {
            "first_step_at": self.first[0],
            "first_step_cpu_s": self.first[1],
            "steps": self.steps,
            "train_s": self.last[0] - self.first[0],
            "train_cpu_s": self.last[1] - self.first[1],
            "eval_s": ended[0] - begun[0],
            "eval_cpu_s": ended[1] - begun[1],
            "gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        (job / "result.json").write_text(json.dumps(found, indent=2) + "\n")


class StepTimer(TrainerCallback):
    """Tells `Timed` of the steps of a Trainer."""

    def __init__(self, timed: Timed) -> None:
        self.timed = timed

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.timed.step()
